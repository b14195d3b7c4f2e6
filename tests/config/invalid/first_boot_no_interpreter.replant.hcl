instance "web" {
  image         = "disk.raw"
  instance_type = "m6i.large"
  guest {
    first_boot { script = "echo beacon" }
  }
}
