"""The portal's JSON interface: for the vendor's proxies, and for the portal's own pages."""
