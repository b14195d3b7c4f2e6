instance "web" {
  instance_type = "m6i.large"
  placement {
    host_id = "h-0123456789abcdef0"
  }
  disk "root" {
    image = "disk.raw"
  }
}
