instance "web" {
  image         = "disk.raw"
  instance_type = "m6i.large"
  guest {
    file "/etc/motd" {
      content = "hello"
      mode    = "rw-r--r--"
    }
  }
}
