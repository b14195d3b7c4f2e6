# A Windows server with what Amazon publishes for it: drivers and agents are taken from a folder, put in offline, and
# installed at the first boot.

instance "app" {
  image         = "backups/app01.vmdk"
  instance_type = "m6i.large"

  guest {
    # The instance gets the address that the guest had.
    network = "keep"

    windows {
      # Files as they were downloaded, or unpacked. `replant plan` names those that are missing, and their addresses.
      components = "drivers/"
    }
  }

  tags = {
    Name = "app01"
  }
}

output "app" {
  value = instance.app.private_ip
}
