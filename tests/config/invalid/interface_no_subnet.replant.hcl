instance "web" {
  instance_type = "m6i.large"
  network_interface {
    device_index = 1
  }
  disk "root" {
    image = "disk.raw"
  }
}
