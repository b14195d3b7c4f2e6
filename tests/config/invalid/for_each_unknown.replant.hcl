instance "db" {
  instance_type = "m6i.large"
  disk "root" {
    image = "disk.raw"
  }
}

instance "web" {
  instance_type = "m6i.large"
  for_each      = toset([instance.db.id])
  disk "root" {
    image = "disk.raw"
  }
}
