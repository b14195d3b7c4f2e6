instance "web" {
  instance_type = "m6i.large"
