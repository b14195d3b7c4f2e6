instance "web" {
  image         = "https://backup:hunter2@store.example/web.ova"
  instance_type = "m6i.large"
}
