variable "password" {
  default   = "hunter2"
  sensitive = true
}

instance "web" {
  instance_type = "m6i.large"
  key_name      = jsondecode(var.password)
  disk "root" {
    image = "disk.raw"
  }
}
