instance "web" {
  instance_type = "m6i.large"
  credit_specification {
    cpu_credits = "unlimited"
  }
  disk "root" {
    image = "disk.raw"
  }
}
