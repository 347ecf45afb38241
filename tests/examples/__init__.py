"""Tests of the sample SaaS and the demonstration."""
