provider "aws" {
  endpoint_url = "ec2.eu-central-1.amazonaws.com"
}

instance "web" {
  instance_type = "m6i.large"
  disk "root" {
    image = "disk.raw"
  }
}
