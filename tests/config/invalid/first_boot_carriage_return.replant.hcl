instance "web" {
  image         = "disk.raw"
  instance_type = "m6i.large"
  guest {
    first_boot { script = "#!/bin/sh\r\necho beacon\r\n" }
  }
}
