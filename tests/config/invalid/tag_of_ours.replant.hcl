instance "web" {
  instance_type = "m6i.large"
  tags          = { "replant:token" = "y" }
  disk "root" {
    image = "disk.raw"
  }
}
