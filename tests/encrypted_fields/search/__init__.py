"""Search in encrypted fields."""
