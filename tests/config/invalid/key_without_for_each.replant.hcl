instance "web" {
  instance_type = "m6i.large"
  disk "root" {
    image = "disk.raw"
  }
}

output "ip" {
  value = instance.web["a"].private_ip
}
