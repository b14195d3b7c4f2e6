instance "web" {
  instance_type = "m6i.large"
  key_name      = ["a"][1]
  disk "root" {
    image = "disk.raw"
  }
}
