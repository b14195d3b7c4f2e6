instance "web" {
  instance_type = "m6i.large"
  network_interface {
    device_index = 32
    subnet_id    = "subnet-1"
  }
  disk "root" {
    image = "disk.raw"
  }
}
