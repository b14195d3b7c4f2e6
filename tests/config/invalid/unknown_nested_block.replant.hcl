instance "web" {
  instance_type = "m6i.large"
  network {
  }
  disk "root" {
    image = "disk.raw"
  }
}
