provider "aws" {
  assume_role {
    role_arn = "restore"
  }
}

instance "web" {
  instance_type = "m6i.large"
  disk "root" {
    image = "disk.raw"
  }
}
