variable "subnet" {
  default = "subnet-1"
}

instance "web" {
  instance_type = "m6i.large"
  subnet_id     = var.subnt
  disk "root" {
    image = "disk.raw"
  }
}
