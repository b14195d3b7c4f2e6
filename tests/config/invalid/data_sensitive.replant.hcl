variable "name" {
  default   = "hunter2"
  sensitive = true
}
data "subnet" "app" {
  tags = {
    Name = var.name
  }
}
