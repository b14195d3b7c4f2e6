data "subnet" "app" {
  vpc_id = "vpc-1"
}
output "id" {
  value = data.subnet.app.cidr
}
