"""Fields that store what only the tenant's key opens. Import them from `encrypted_fields`."""
