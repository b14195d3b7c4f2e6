instance {
  instance_type = "m6i.large"
  image         = "disk.raw"
}
