instance "web" {
  instance_type = "m6i.large"
  placement {
    tenancy = "host"
    host_id = "i-0123456789abcdef0"
  }
  disk "root" {
    image = "disk.raw"
  }
}
