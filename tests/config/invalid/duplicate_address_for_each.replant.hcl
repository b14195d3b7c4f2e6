instance "web" {
  instance_type = "m6i.large"
  for_each      = toset(["a", "b"])
  private_ip    = "10.0.0.5"
  disk "root" {
    image = "disk.raw"
  }
}
