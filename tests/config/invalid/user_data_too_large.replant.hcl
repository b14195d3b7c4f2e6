instance "web" {
  instance_type = "m6i.large"
  user_data     = join("", [for i in range(20000) : "a"])
  disk "root" {
    image = "disk.raw"
  }
}
