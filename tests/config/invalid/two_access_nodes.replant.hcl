access_node "a" {
}

access_node "b" {
}
instance "web" {
  instance_type = "m6i.large"
  disk "root" {
    image = "disk.raw"
  }
}
