"""The Configuration Broker: the portal where tenants keep settings that the portal itself cannot read."""
