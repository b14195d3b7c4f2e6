instance "a" {
  instance_type = "m6i.large"
  user_data     = instance.b.private_ip
  disk "root" {
    image = "disk.raw"
  }
}

instance "b" {
  instance_type = "m6i.large"
  depends_on    = [instance.c]
  disk "root" {
    image = "disk.raw"
  }
}

instance "c" {
  instance_type = "m6i.large"
  tags          = { x = local.x }
  disk "root" {
    image = "disk.raw"
  }
}

locals {
  x = instance.a.id
}
