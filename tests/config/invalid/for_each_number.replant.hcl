instance "web" {
  instance_type = "m6i.large"
  for_each      = 3
  disk "root" {
    image = "disk.raw"
  }
}
