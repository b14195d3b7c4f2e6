instance "web" {
  image         = "s3://backups"
  instance_type = "m6i.large"
}
