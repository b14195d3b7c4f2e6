data "subnet" "a" {
  vpc_id = data.subnet.b.vpc_id
}
data "subnet" "b" {
  vpc_id = data.subnet.a.vpc_id
}
