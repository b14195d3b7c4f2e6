variable "key" {
  default   = "hunter2"
  sensitive = true
}

instance "web" {
  image         = "disk.raw"
  instance_type = "m6i.large"
  guest {
    file "/etc/key" { content = "key=${var.key}" }
  }
}
