locals {
  a = [for i in range(50000) : i]
  b = [for i in range(300) : local.a]
}
