data "subnet" "app" {
  zone = "eu-central-1a"
}
