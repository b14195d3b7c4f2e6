variable "n" {
  type    = "string"
  default = "x"
}
