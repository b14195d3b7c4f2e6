instance "web" {
  instance_type = "m6i.large"
  disk "root" {
    image = "disk.raw"
    encrypted  = false
    kms_key_id = "alias/x"
  }
}
