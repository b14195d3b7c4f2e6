instance "web" {
  instance_type = "m6i.large"
  key_name      = replace("a", "b")
  disk "root" {
    image = "disk.raw"
  }
}
