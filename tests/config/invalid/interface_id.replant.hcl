instance "web" {
  instance_type = "m6i.large"
  network_interface {
    device_index         = 1
    network_interface_id = "subnet-0123456789abcdef0"
  }
  disk "root" {
    image = "disk.raw"
  }
}
