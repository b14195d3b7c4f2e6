instance "web" {
  instance_type = "m6i.large"
  placement {
    partition_number = 2
  }
  disk "root" {
    image = "disk.raw"
  }
}
