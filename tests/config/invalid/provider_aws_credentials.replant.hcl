provider "aws" {
  access_key = "AKIA"
}

instance "web" {
  instance_type = "m6i.large"
  disk "root" {
    image = "disk.raw"
  }
}
