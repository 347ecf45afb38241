"""Leased keys: one LEK a tenant key, proved by its key service every five minutes, gone when the tenant says so."""
