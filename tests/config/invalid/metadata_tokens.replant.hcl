instance "web" {
  instance_type = "m6i.large"
  metadata_options {
    http_tokens = true
  }
  disk "root" {
    image = "disk.raw"
  }
}
