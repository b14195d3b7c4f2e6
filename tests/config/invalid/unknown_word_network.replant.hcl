instance "web" {
  instance_type = "m6i.large"
  guest {
    network = "static"
  }
  disk "root" {
    image = "disk.raw"
  }
}
