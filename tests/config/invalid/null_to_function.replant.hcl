instance "web" {
  instance_type = "m6i.large"
  key_name      = upper(null)
  disk "root" {
    image = "disk.raw"
  }
}
