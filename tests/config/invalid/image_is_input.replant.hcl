instance "web" {
  image         = "-"
  instance_type = "m6i.large"
}
