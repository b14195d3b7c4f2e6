access_node "dr" {
  max_attachments = 90
}

instance "web" {
  instance_type = "m6i.large"
  disk "root" {
    image = "disk.raw"
  }
}
