instance "web" {
  instance_type = "M6I large"
  disk "root" {
    image = "disk.raw"
  }
}
