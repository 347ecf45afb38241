"""Back to the leased key of the fleet, by a process that agreed on one with itself while Redis did not answer.

Until then nothing is wrong with its own: every EDEK carries its ELEK, and every proxy opens it. But a fleet that is of
one mind again proves one key a tenant and not one a process (house decision 3).
"""

from __future__ import annotations

import logging
from hashlib import sha256

from encrypted_fields.core.errors import InvalidEdek, KmsUnwrapFailed
from tsp import edek
from tsp.leases.cache import KeyState, Leases
from tsp.ports import Kms, Tenant

_log = logging.getLogger(__name__)


async def rejoin(leases: Leases, tenant: Tenant, kms: Kms, state: KeyState) -> bool:
    """Offer our active key to the fleet, or take the one that it has. False when Redis still does not answer.

    CmkError when the key service does not open the fleet's: then ours stays, and the next round asks again. Requests
    do not wait for any of it.
    """
    slot, own = state.alone, state.active
    if own is None or not slot:
        state.alone = ""  # it expired or was refused: who activates the next one asks Redis first
        return True
    agreed = await leases.agreement.settle(slot, own.elek, None)
    if leases.agreement.alone(slot):
        return False
    lease = own
    if agreed != own.elek:
        try:
            edek.blob_of(agreed)
            lease = await leases.for_unwrap(tenant, kms, agreed, sha256(agreed).digest())
        except (KmsUnwrapFailed, InvalidEdek):  # a hint that this key service did not make is replaced
            await leases.agreement.settle(slot, own.elek, agreed)
            return True
    if state.active is own:  # and no new version or epoch meanwhile
        state.active, state.elek, state.alone = lease, lease.elek, ""
        mark = {"tenant": tenant.name, "config": kms.config, "edek": lease.digest[:8].hex()}
        _log.info("redis answers, and the active leased key is the fleet's", extra=mark)
    return True
