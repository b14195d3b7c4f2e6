data "ami" "base" {
  most_recent = true
}
