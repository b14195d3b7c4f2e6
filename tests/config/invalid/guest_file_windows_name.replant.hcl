instance "web" {
  image         = "disk.raw"
  instance_type = "m6i.large"
  guest {
    file "C:/Tools/nul.txt" {
      content = "hello"
    }
  }
}
