instance "web" {
  instance_type = "m6i.large"
  key_name      = regex("(", "x")
  disk "root" {
    image = "disk.raw"
  }
}
