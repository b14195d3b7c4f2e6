instance "web" {
  instance_type = "m6i.large"
  disk "root" {
    image              = "disk.raw"
    restore_throughput = 1000
  }
}
