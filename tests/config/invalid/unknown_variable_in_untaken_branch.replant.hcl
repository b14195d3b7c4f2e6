instance "web" {
  instance_type = "m6i.large"
  key_name      = true ? "a" : var.nothing
  disk "root" {
    image = "disk.raw"
  }
}
