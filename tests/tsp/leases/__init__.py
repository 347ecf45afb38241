"""The leases under every fault, on a clock that the test holds."""
