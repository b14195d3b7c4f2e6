data "subnet" "app" {
  vpc_id = "vpc-1"
}
data "subnet" "app" {
  vpc_id = "vpc-2"
}
