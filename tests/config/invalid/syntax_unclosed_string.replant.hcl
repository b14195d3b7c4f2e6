instance "web" {
  instance_type = "m6i.large"
  subnet_id     = "subnet-1
  disk "root" {
    image = "disk.raw"
  }
}
