instance "web" {
  instance_type = "m6i.large"
  disk "root" {
    image              = "disk.raw"
    type               = "gp2"
    restore_throughput = 500
  }
}
