instance "web" {
  instance_type = "m6i.large"
  key_name      = each.key
  disk "root" {
    image = "disk.raw"
  }
}
