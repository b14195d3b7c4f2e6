provider "aws" {
  region = "eu-central-1a"
}

instance "web" {
  instance_type = "m6i.large"
  disk "root" {
    image = "disk.raw"
  }
}
