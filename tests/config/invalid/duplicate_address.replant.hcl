instance "a" {
  instance_type = "m6i.large"
  private_ip    = "10.0.0.5"
  disk "root" {
    image = "disk.raw"
  }
}

instance "b" {
  instance_type = "m6i.large"
  private_ip    = "10.0.0.5"
  disk "root" {
    image = "disk.raw"
  }
}
