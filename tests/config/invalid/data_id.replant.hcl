data "subnet" "app" {
  id = "app"
}
