instance "web" {
  image         = "disk.raw"
  instance_type = "m6i.large"
  guest {
    first_boot { script = "#!/bin/sh\n" }
    first_boot { script = "#!/bin/sh\n" }
  }
}
