"""Sealed configurations as the proxy sees them: who its tenants are, with which keys, and where their events go."""

from __future__ import annotations

from tsp.configs.active import ActiveKms, ActiveSiem, Tenant
from tsp.configs.configs import Configs, FixedConfigs
from tsp.configs.shared_marks import SharedMarks
from tsp.configs.shelf import Shelf

__all__ = ["ActiveKms", "ActiveSiem", "Configs", "FixedConfigs", "SharedMarks", "Shelf", "Tenant"]
