instance "web" {
  instance_type = "m6i.large"
  disk "root" {
    image = "disk.raw"
    size  = 1.5
  }
}
