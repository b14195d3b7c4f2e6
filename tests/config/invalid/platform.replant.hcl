instance "web" {
  instance_type = "m6i.large"
  launch {
    platform = "macos"
  }
  disk "root" {
    image = "disk.raw"
  }
}
