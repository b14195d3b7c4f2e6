data "subnet" "app" {
  tags = {
    Name = instance.web.id
  }
}
instance "web" {
  instance_type = "m6i.large"
  disk "root" {
    image = "disk.raw"
  }
}
