variable "a" {
  default = local.x
}

locals {
  x = 1
}
