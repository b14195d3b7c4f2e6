instance "web" {
  instance_type = "m6i.large"
  placement {
    tenancy = "dedicate"
  }
  disk "root" {
    image = "disk.raw"
  }
}
