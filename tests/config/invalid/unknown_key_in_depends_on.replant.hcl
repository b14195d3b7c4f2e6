instance "db" {
  instance_type = "m6i.large"
  for_each      = toset(["eu", "us"])
  disk "root" {
    image = "disk.raw"
  }
}

instance "web" {
  instance_type = "m6i.large"
  depends_on    = [instance.db["ue"]]
  disk "root" {
    image = "disk.raw"
  }
}
