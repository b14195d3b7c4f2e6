instance "web" {
  image         = "disk.raw"
  instance_type = "m6i.large"
  guest {
    hostname = "web_01"
  }
}
