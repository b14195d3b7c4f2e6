data "ami" "base" {
  owners     = ["self"]
  name_regex = "app-("
}
