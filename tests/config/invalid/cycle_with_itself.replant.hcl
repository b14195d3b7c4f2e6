instance "web" {
  instance_type = "m6i.large"
  user_data     = instance.web.id
  disk "root" {
    image = "disk.raw"
  }
}
