instance "web" {
  instance_type = "m6i.large"
  state         = "runing"
  disk "root" {
    image = "disk.raw"
  }
}
