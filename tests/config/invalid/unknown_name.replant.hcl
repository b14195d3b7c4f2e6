instance "web" {
  instance_type = "m6i.large"
  key_name      = mykey
  disk "root" {
    image = "disk.raw"
  }
}
