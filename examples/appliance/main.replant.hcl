# An OVA with two disks. It brings its disks and hardware along; a disk block changes what becomes of the disk of that
# name. The disk that the machine boots from is called root, the others data1, data2 … in the order of their controllers;
# a name that the appliance does not have is refused, and the refusal lists those that it has.

variable "data_size" {
  type        = number
  default     = 60
  description = "The data volume's size in GiB; the backup's is 40."

  validation {
    condition     = var.data_size >= 40
    error_message = "The data disk holds 40 GiB."
  }
}

provider "local" {
  directory = ".replant/cloud"
}

instance "erp" {
  image         = "backups/erp.ova"
  instance_type = "r6i.xlarge"

  disk "root" {
    type = "gp3"
  }

  disk "data1" {
    size       = var.data_size
    grow       = true # the last partition and its filesystem take the new space
    type       = "gp3"
    iops       = 6000
    throughput = 500
    encrypted  = true

    tags = {
      Content = "data"
    }
  }

  lifecycle {
    prevent_destroy = true
  }

  tags = {
    Name = "erp"
  }
}

output "erp_volumes" {
  value = instance.erp.id
}
