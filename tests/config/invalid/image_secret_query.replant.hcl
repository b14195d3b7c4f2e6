instance "web" {
  image         = "https://backups.s3.amazonaws.com/web.ova?X-Amz-Expires=3600&X-Amz-Signature=hunter2"
  instance_type = "m6i.large"
}
