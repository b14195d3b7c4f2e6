instance "web" {
  instance_type = "m6i.large"
  metadata_options {
    http_token = "required"
  }
  disk "root" {
    image = "disk.raw"
  }
}
