instance "web" {
  instance_type = "m6i.large"
  count         = 2
  disk "root" {
    image = "disk.raw"
  }
}
