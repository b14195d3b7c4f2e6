instance "web" {
  image         = "disk.raw"
  instance_type = "m6i.large"
  guest {
    file "/run/beacon" { content = "hello" }
  }
}
