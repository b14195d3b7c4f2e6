variable "env" {
  default  = null
  nullable = false
}
