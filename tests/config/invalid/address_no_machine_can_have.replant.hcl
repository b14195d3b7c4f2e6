instance "web" {
  instance_type = "m6i.large"
  private_ip    = "127.0.0.1"
  disk "root" {
    image = "disk.raw"
  }
}
