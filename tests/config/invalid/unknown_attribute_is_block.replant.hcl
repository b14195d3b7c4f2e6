instance "web" {
  instance_type = "m6i.large"
  guest         = { network = "dhcp" }
  disk "root" {
    image = "disk.raw"
  }
}
