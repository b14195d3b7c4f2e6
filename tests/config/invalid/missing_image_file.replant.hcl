instance "web" {
  image         = "nothing.ova"
  instance_type = "m6i.large"
}
