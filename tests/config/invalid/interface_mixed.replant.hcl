instance "web" {
  instance_type = "m6i.large"
  subnet_id = "subnet-1"
  network_interface {
    device_index = 0
    private_ip   = "10.0.0.9"
  }
  disk "root" {
    image = "disk.raw"
  }
}
