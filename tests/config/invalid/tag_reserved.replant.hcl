instance "web" {
  instance_type = "m6i.large"
  tags          = { "aws:x" = "y" }
  disk "root" {
    image = "disk.raw"
  }
}
