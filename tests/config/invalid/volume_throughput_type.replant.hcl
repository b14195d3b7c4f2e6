instance "web" {
  instance_type = "m6i.large"
  disk "root" {
    image = "disk.raw"
    type       = "gp2"
    throughput = 250
  }
}
