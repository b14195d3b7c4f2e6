# A database server onto EC2, by names: what they stand for is looked up in the plan. Rehearse it
# without AWS:
#
#     replant plan --rehearse

replant {
  required_version = "~> 0.1"
}

provider "aws" {
  region       = "eu-central-1"
  default_tags = { RestoredBy = "replant" }
}

# The instance that apply runs on, as root: udev there is kept off the guests' disks by a rule in
# /run/udev/rules.d (docs/src/access-node.md).
access_node "dr" {
  instance_id = "self"
}

# The network that it moves into, and the one that backups go through.
data "subnet" "app" {
  filter {
    name   = "tag:Name"
    values = ["app-*"]
  }
  availability_zone = "eu-central-1a"
}

data "subnet" "backup" {
  vpc_id = data.subnet.app.vpc_id
  tags   = { Name = "backup" }
}

data "security_group" "of" {
  for_each = toset(["database", "backup"])

  name   = each.key
  vpc_id = data.subnet.app.vpc_id
}

data "kms_key" "restore" {
  key_id = "alias/restore"
}

# What the stub is launched from; left out, one of Amazon's is chosen.
data "ami" "base" {
  owners      = ["self"]
  name_regex  = "^base-linux-[0-9]+$"
  most_recent = true
}

instance "db" {
  instance_type = "t3.xlarge"
  state         = "stopped"
  monitoring    = true
  tags          = { Name = "db" }

  disk "root" {
    image      = "backups/db.vmdk"
    encrypted  = true
    kms_key_id = data.kms_key.restore.arn
  }

  network_interface {
    device_index       = 0
    subnet_id          = data.subnet.app.id
    private_ip         = cidrhost(data.subnet.app.cidr_block, 15)
    security_group_ids = [data.security_group.of["database"].id]
  }

  network_interface {
    device_index       = 1
    subnet_id          = data.subnet.backup.id
    security_group_ids = [data.security_group.of["backup"].id]
    description        = "backups"
  }

  placement {
    group_name = "databases"
  }

  metadata_options {
    http_put_response_hop_limit = 2
    instance_metadata_tags      = "enabled"
  }

  credit_specification {
    cpu_credits = "unlimited"
  }

  launch {
    base_ami = data.ami.base.id
  }
}

output "zone" {
  value = data.subnet.app.availability_zone
}
