instance "web" {
  image         = "disk.raw"
  instance_type = "m6i.large"
  guest {
    accept = ["guest::luks", "No network!"]
  }
}
