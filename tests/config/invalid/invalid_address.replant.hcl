instance "web" {
  instance_type = "m6i.large"
  private_ip    = "10.20.1.300"
  disk "root" {
    image = "disk.raw"
  }
}
