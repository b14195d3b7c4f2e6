output "id" {
  value = data.subnet.app.id
}
