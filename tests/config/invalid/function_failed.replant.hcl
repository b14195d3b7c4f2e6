instance "web" {
  instance_type = "m6i.large"
  key_name      = file("nothing.txt")
  disk "root" {
    image = "disk.raw"
  }
}
