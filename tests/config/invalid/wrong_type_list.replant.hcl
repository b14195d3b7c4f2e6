instance "web" {
  instance_type = "m6i.large"
  security_group_ids = "sg-1"
  disk "root" {
    image = "disk.raw"
  }
}
