instance "web" {
  image         = "disk.raw"
  instance_type = "m6i.large"
  guest {
    drivers = "none"
    windows { components = "." }
  }
}
