instance "web" {
  instance_type = "m6i.large"
  key_name      = uper("x")
  disk "root" {
    image = "disk.raw"
  }
}
