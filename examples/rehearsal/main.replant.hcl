# A restore as it would be made on EC2, tried here first: network, keys and encryption are kept as they will be, and the
# local provider checks them against EC2's rules.

variable "subnet_id" {
  type    = string
  default = "subnet-0a1b2c3d4e5f60718"
}

variable "kms_key_id" {
  type    = string
  default = "alias/restores"
}

provider "local" {
  directory    = ".replant/rehearsal"
  zone         = "local-1b"
  memory       = 512 # MiB, whatever the instance type has
  boot_timeout = 300
}

instance "app" {
  instance_type          = "c6i.large"
  subnet_id              = var.subnet_id
  security_group_ids     = ["sg-0123456789abcdef0"]
  iam_instance_profile   = "app"
  termination_protection = true

  disk "root" {
    image          = "backups/app.qcow2"
    format         = "qcow2"
    encrypted      = true
    kms_key_id     = var.kms_key_id
    final_snapshot = true
  }

  disk "scratch" {
    size = 20
  }

  guest {
    network = "keep"
  }

  launch {
    console_pattern = "app login:"
    boot_timeout    = 240
  }

  tags = {
    Name = "app"
  }
}
