variable "string" "name" {
  default = "x"
}
