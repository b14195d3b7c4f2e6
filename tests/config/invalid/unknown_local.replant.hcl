locals {
  owner = "x"
}

instance "web" {
  instance_type = "m6i.large"
  tags          = { Owner = local.ownr }
  disk "root" {
    image = "disk.raw"
  }
}
