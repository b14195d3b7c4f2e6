instance "web" {
  instance_type = "m6i.large"
  for_each      = toset(["a"])
  disk "root" {
    image = "disk.raw"
  }
}

output "ip" {
  value = instance.web.private_ip
}
