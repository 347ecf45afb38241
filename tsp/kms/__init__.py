"""The key services that the proxy knows: kind → dotted path of its adapter, imported on first use."""

ADAPTERS = {
    "local": "tsp.kms.local.LocalKms",
    "aws": "tsp.kms.aws.AwsKms",
    "pkcs11": "tsp.kms.pkcs11.Pkcs11Kms",
}
