instance "web" {
  instance_type = "m6i.large"
  launch {
    console_pattern = "login: ("
  }
  disk "root" {
    image = "disk.raw"
  }
}
