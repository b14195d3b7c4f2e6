data "aws_subnet" "app" {
}
