instance "web" {
  disk "root" {
    image = "disk.raw"
  }
}
