instance "web" {
  instance_type = "m6i.large"
  disk "root" {
    image = "disk.raw"
  }
  disk "root" {
    size = 10
  }
}
