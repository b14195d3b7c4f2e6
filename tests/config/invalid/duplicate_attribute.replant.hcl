instance "web" {
  instance_type = "m6i.large"
  instance_type = "m5.large"
  disk "root" {
    image = "disk.raw"
  }
}
