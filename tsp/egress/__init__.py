"""The one outbound door: every connection of an adapter or a sink is made here. Requirements T-15, T-16, T-17."""

from __future__ import annotations

from tsp.egress.addresses import EgressDenied, EgressError, EgressFailed
from tsp.egress.door import Egress, Response
from tsp.egress.tls import context

__all__ = ["Egress", "EgressDenied", "EgressError", "EgressFailed", "Response", "context"]
