instance "web" {
  instance_type = "m6i.large"
  monitoring = "detailed"
  disk "root" {
    image = "disk.raw"
  }
}
