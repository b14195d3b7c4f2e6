instance "web" {
  image         = "disk.raw"
  instance_type = "m6i.large"
  guest {
    file "C:/Tools/x.txt" {
      content = "hello"
      mode    = "0644"
    }
  }
}
