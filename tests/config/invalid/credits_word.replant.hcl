instance "web" {
  instance_type = "t3.large"
  credit_specification {
    cpu_credits = "endless"
  }
  disk "root" {
    image = "disk.raw"
  }
}
