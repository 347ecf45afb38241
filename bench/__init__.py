"""Measurements: what encryption, wrapping and files cost beside the same work without them, in the same run."""
