variable "disks" {
  type    = map(object({ size = number, grow = optional(bool, false) }))
  default = { root = { sise = 1 } }
}
