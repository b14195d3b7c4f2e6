provider "aws" {
  assume_role {
    role_arn     = "arn:aws:iam::123456789012:role/restore"
    session_name = "the restore"
  }
}

instance "web" {
  instance_type = "m6i.large"
  disk "root" {
    image = "disk.raw"
  }
}
