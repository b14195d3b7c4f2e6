instance "web" {
  instance_type = "m6i.large"
  disk "root" {
    image        = "disk.raw"
    iops         = 8000
    restore_iops = 4000
  }
}
