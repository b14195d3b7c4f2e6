instance "web" {
  instance_type = "m6i.large"
  tags          = { for i in range(60) : "tag${i}" => "x" }
  disk "root" {
    image = "disk.raw"
  }
}
