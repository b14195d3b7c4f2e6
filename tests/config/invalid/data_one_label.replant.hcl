data "subnet" {
}
