"""Part of the sample clinic."""
