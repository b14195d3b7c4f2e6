instance "web" {
  instance_type = null
  disk "root" {
    image = "disk.raw"
  }
}
