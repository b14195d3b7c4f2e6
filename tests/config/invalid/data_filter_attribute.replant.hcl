data "subnet" "app" {
  filter {
    name  = "tag:Name"
    value = "app"
    values = ["app"]
  }
}
