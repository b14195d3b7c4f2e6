instance "web" {
  instance_type = "m6i.large"
  metadata_options {
    http_put_response_hop_limit = 65
  }
  disk "root" {
    image = "disk.raw"
  }
}
