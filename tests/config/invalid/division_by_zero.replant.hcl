instance "web" {
  instance_type = "m6i.large"
  disk "root" {
    image = "disk.raw"
    size  = 10 / 0
  }
}
