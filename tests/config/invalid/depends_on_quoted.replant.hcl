instance "db" {
  instance_type = "m6i.large"
  disk "root" {
    image = "disk.raw"
  }
}

instance "web" {
  instance_type = "m6i.large"
  depends_on    = ["instance.db"]
  disk "root" {
    image = "disk.raw"
  }
}
