data "subnet" "app" {
  cidr_block = "10.20.1.0"
}
