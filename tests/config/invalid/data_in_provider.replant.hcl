provider "aws" {
  region = data.subnet.app.availability_zone
}
data "subnet" "app" {
  vpc_id = "vpc-1"
}
