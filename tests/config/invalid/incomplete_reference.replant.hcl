instance "web" {
  instance_type = "m6i.large"
  key_name      = var
  disk "root" {
    image = "disk.raw"
  }
}
