instance "web" {
  image         = "ftp://backups/web.ova"
  instance_type = "m6i.large"
}
