locals {
  x = { for s in ["a", "a"] : s => 1 }
}
