variable "password" {
  default   = "hunter2"
  sensitive = true
}

output "password" {
  value = "pw: ${var.password}"
}
