instance "web" {
  instance_type = "m6i.large"
  network_interface {
    device_index = 1
    subnet_id    = "subnet-1"
    private_ip   = "10.0.0"
  }
  disk "root" {
    image = "disk.raw"
  }
}
