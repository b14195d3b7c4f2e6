instance "web" {
  instance_type = "m6i.large"
  network_interface {
    device_index          = 0
    network_interface_id  = "eni-0123456789abcdef0"
    delete_on_termination = true
  }
  disk "root" {
    image = "disk.raw"
  }
}
