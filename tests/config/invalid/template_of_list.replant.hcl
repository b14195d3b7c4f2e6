instance "web" {
  instance_type = "m6i.large"
  key_name      = "key-${[1, 2]}"
  disk "root" {
    image = "disk.raw"
  }
}
