"""The sinks that the shipper knows: kind → dotted path of its class, imported on first use."""

SINKS = {
    "splunk": "tsp.siem.splunk.SplunkHec",
    "webhook": "tsp.siem.webhook.SignedWebhook",
}
