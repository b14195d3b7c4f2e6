instance "web" {
  instance_type = "m6i.large"
  for_each      = ["a", "b"]
  disk "root" {
    image = "disk.raw"
  }
}
