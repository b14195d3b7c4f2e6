data "kms_key" "restore" {
}
