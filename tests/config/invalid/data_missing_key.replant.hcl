data "subnet" "app" {
  for_each = toset(["a"])
  vpc_id   = each.key
}
output "id" {
  value = data.subnet.app.id
}
