variable "env" {
  default = "tset"

  validation {
    condition     = contains(["test", "prod"], var.env)
    error_message = "env is test or prod."
  }
}
