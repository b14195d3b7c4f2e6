instance "web" {
  instance_type = "m6i.large"
  disk "root" {
    size = 10
  }
}
