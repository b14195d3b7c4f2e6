instance "web" {
  instance_type = "m6i.large"
  network_interface {
    device_index         = 1
    network_interface_id = "eni-0123456789abcdef0"
    subnet_id            = "subnet-1"
  }
  disk "root" {
    image = "disk.raw"
  }
}
