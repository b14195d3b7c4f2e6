instance "web" {
  instance_type = "m6i.large"
  tags          = { x = join("", [for i in range(300) : "a"]) }
  disk "root" {
    image = "disk.raw"
  }
}
