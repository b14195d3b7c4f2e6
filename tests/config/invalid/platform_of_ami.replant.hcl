instance "web" {
  instance_type = "m6i.large"
  launch {
    base_ami = "ami-0123456789abcdef0"
    platform = "windows"
  }
  disk "root" {
    image = "disk.raw"
  }
}
