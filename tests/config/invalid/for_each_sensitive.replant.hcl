variable "names" {
  type      = set(string)
  default   = ["a"]
  sensitive = true
}

instance "web" {
  instance_type = "m6i.large"
  for_each      = var.names
  disk "root" {
    image = "disk.raw"
  }
}
