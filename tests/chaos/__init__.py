"""A soak: three proxies, two workers, twenty tenants, a fault every few seconds, and an oracle. `make chaos`, Q-15."""
