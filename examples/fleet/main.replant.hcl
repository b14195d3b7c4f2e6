# A database, then the web servers that need it: one block for all of them, one address for each.

replant {
  required_version = "~> 0.1"
}

provider "local" {
  directory = ".replant/cloud"
}

variable "environment" {
  type    = string
  default = "dr"

  validation {
    condition     = contains(["dr", "staging"], var.environment)
    error_message = "The environment is dr or staging."
  }
}

locals {
  network = "10.20.1.0/24"

  web = {
    eu = { host = 11, type = "m6i.large" }
    us = { host = 12, type = "m6i.xlarge" }
  }

  tags = {
    Environment = var.environment
    RestoredBy  = "replant"
  }
}

instance "db" {
  image         = "backups/db.vmdk"
  instance_type = "r6i.large"
  private_ip    = cidrhost(local.network, 10)
  tags          = merge(local.tags, { Name = "db" })
}

instance "web" {
  for_each = local.web

  image         = "backups/web-${each.key}.vmdk"
  instance_type = each.value.type
  private_ip    = cidrhost(local.network, each.value.host)
  user_data     = templatefile("user-data.sh", { database = instance.db.private_ip })
  tags          = merge(local.tags, { Name = "web-${each.key}" })

  depends_on = [instance.db]
}

output "web_addresses" {
  value = { for name, server in local.web : name => cidrhost(local.network, server.host) }
}
