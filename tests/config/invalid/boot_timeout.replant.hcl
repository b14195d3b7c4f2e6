instance "web" {
  instance_type = "m6i.large"
  launch {
    boot_timeout = 0
  }
  disk "root" {
    image = "disk.raw"
  }
}
