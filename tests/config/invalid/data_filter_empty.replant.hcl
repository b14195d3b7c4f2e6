data "subnet" "app" {
  filter {
    name   = "tag:Name"
    values = []
  }
}
