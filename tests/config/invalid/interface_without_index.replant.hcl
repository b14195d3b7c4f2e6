instance "web" {
  instance_type = "m6i.large"
  network_interface {
    subnet_id = "subnet-1"
  }
  disk "root" {
    image = "disk.raw"
  }
}
