instance "web" {
  instance_type = "m6i.large"
  launch {
    base_ami = "debian-12"
  }
  disk "root" {
    image = "disk.raw"
  }
}
