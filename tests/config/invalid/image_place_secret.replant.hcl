instance "web" {
  image         = "s3://AKIA:hunter2@backups/web.ova"
  instance_type = "m6i.large"
}
