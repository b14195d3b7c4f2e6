instance "web" {
  image         = "disk.raw"
  instance_type = "m6i.large"
  guest {
    first_boot {
      script  = "#!/bin/sh\necho beacon\n"
      timeout = 0
    }
  }
}
