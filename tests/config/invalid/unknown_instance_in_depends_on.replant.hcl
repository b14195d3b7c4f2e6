instance "database" {
  instance_type = "m6i.large"
  disk "root" {
    image = "disk.raw"
  }
}

instance "web" {
  instance_type = "m6i.large"
  depends_on    = [instance.databse]
  disk "root" {
    image = "disk.raw"
  }
}
