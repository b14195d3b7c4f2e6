# A Debian machine that was backed up from VMware, restored as an EC2 instance would be, in a directory of this machine.
# `make quickstart` puts the backup in place.

replant {
  required_version = ">= 0.1"
}

provider "local" {
  directory = ".replant/cloud"
}

access_node "here" {
  instance_id = "self"
}

instance "web" {
  image         = "backups/web01.vmdk"
  instance_type = "m6i.large" # Nitro: its disks are NVMe
  private_ip    = "10.20.1.15"

  guest {
    network = "dhcp"
  }

  tags = {
    Name = "web01"
  }
}

output "web_ip" {
  value = instance.web.private_ip
}
