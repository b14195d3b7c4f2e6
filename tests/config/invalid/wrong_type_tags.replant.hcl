instance "web" {
  instance_type = "m6i.large"
  tags          = ["a"]
  disk "root" {
    image = "disk.raw"
  }
}
