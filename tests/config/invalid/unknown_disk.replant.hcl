instance "web" {
  instance_type = "m6i.large"
  disk "root" {
    image = "disk.raw"
  }
}

output "id" {
  value = instance.web.volume.rot.id
}
