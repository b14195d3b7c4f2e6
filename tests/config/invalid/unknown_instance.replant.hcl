instance "db" {
  instance_type = "m6i.large"
  disk "root" {
    image = "disk.raw"
  }
}

instance "web" {
  instance_type = "m6i.large"
  user_data     = instance.bd.private_ip
  disk "root" {
    image = "disk.raw"
  }
}
