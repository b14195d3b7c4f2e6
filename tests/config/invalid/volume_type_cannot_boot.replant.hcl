instance "web" {
  instance_type = "m6i.large"
  disk "root" {
    image = "disk.raw"
    type  = "st1"
    size  = 200
  }
}
