# A drill: the backup of a web server is restored beside the one that runs, as another machine that harms nobody, and
# says by itself that it works.

variable "drill" {
  type        = string
  description = "What this drill is called."
  default     = "monthly"
}

instance "web" {
  image         = "backups/web01.vmdk"
  instance_type = "t3.small"

  guest {
    # Another machine id, other SSH host keys, another name: nothing takes it for the one that it comes from.
    identity = "new"
    hostname = "web01-drill"

    file "/etc/motd" {
      content = "Restored by the ${var.drill} drill. Nothing that you do here lasts.\n"
    }

    # Whatever the backed-up machine would tell the world stays on this one.
    file "/etc/systemd/system/web-reports.service.d/drill.conf" {
      content = <<-EOT
        [Service]
        Environment=REPORT_TO=http://127.0.0.1:9
      EOT
    }

    first_boot {
      script  = templatefile("beacon.sh", { drill = var.drill })
      timeout = 120
    }
  }

  # It counts as up when its beacon is on the console, not at the login prompt already.
  launch {
    console_pattern = "beacon of drill ${var.drill}: ok"
  }

  tags = {
    Name  = "web01-drill"
    Drill = var.drill
  }
}

output "drill" {
  value = instance.web.id
}
