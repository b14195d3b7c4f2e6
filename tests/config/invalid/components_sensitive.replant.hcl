variable "folder" {
  default   = "."
  sensitive = true
}

instance "web" {
  image         = "disk.raw"
  instance_type = "m6i.large"
  guest {
    windows { components = var.folder }
  }
}
