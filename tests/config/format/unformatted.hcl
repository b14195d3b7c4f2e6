locals {
a=1
  bbbb = 2 # c
  cc    = {
x = 1
      yyy= 2
  }
  d = [ 1,2,
 3 ]
  e ="x" // y

  longer = true
  # comment
     f = <<EOT
   keep
     this
EOT
  g   = 1
}
resource   "a"   "b"{
  x=1
  nested{
  yyyy =2
  }


  z = foo( 1,2 ) + 3
  q = [
{
a = 1
},
{ b = 2 },
]
  w = merge(local.a, {
    c = 1
    ddd = 2
  })
}
instance "web" {
image="a"   # one
instance_type   =  "m6i.large"# two
  tags = {for k,v in var.tags:k=>upper(v) if v!=""}
  x = -1+2 - -3
  y = !true&&(1<2||a.b[0].c["d"] == null)? "${upper("x")}":{for x in y:x=>x...}
  z = a[*].b.*.c
  m = {
  "quoted key" = 1
  b = 2
}
  q = [{
    a = 1
  }, {
    b = 2
  }]
  /* block
     comment */
  depends_on = [instance.db,instance.x["a"]]


}
