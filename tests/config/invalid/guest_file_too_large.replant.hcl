instance "web" {
  image         = "disk.raw"
  instance_type = "m6i.large"
  guest {
    file "/etc/motd" {
      content = join("", [for i in range(1200) : join("", [for j in range(1000) : "a"])])
    }
  }
}
