instance "web" {
  instance_type = "m6i.large"
  subnet_id     = ""
  disk "root" {
    image = "disk.raw"
  }
}
