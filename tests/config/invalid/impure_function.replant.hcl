instance "web" {
  instance_type = "m6i.large"
  tags          = { At = timestamp() }
  disk "root" {
    image = "disk.raw"
  }
}
