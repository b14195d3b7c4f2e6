locals {
  zones = { frankfurt = "a", dublin = "b" }
}

instance "web" {
  instance_type = "m6i.large"
  key_name      = local.zones.frankfrt
  disk "root" {
    image = "disk.raw"
  }
}
