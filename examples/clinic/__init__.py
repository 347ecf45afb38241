"""A small SaaS: clinics keep their patients here, and each clinic holds the key to its own rows."""
