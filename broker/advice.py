"""The proxy's reasons for a refusal, in the words of a tenant's admin: what happened, and what to do."""

from __future__ import annotations

_AGAIN = "The proxy goes on trying; nothing needs to be sealed again once it works."

# tsp.configs.admission.REASONS → (headline, what to do); a test holds the two lists together
ADVICE: dict[str, tuple[str, str]] = {
    "kms_refused": (
        "Your key service refused",
        f"Check that the key is enabled and that these credentials may encrypt and decrypt with it. {_AGAIN}",
    ),
    "kms_misconfigured": (
        "Your key service cannot work with these settings",
        "Check the key's name, the region, the credentials and their permissions, then seal again.",
    ),
    "kms_unreachable": (
        "Your key service does not answer",
        f"Check its address and your firewall. {_AGAIN}",
    ),
    "siem_rejects": (
        "Your log receiver rejects the events",
        "Check the index or source that it writes to, and the format it expects, then seal again.",
    ),
    "siem_refused": (
        "Your log receiver refused",
        f"Check the token and what it may write to. {_AGAIN}",
    ),
    "siem_unreachable": (
        "Your log receiver does not answer",
        f"Check its address, its certificate and your firewall. {_AGAIN}",
    ),
    "bad_options": (
        "Some settings are not valid",
        "A field is missing or has a value that the provider does not take. Fill in the form and seal again.",
    ),
    "leasing_required": (
        "Your vendor requires key leasing",
        "Tick key leasing and seal again. What was in use before goes on meanwhile.",
    ),
    "unknown_provider": (
        "The proxy does not know this provider",
        "Choose another provider, or ask your vendor to update the proxy.",
    ),
    "local_not_allowed": (
        "The development key service is not allowed here",
        "Choose the key service that really holds your key.",
    ),
    "self_test_failed": (
        "The test of the key failed",
        "Your key service answered, but what it wrapped could not be unwrapped. Check that the key may do both.",
    ),
    "cannot_open": (
        "The proxy cannot open the box",
        "It was sealed to a key that this proxy does not hold, or damaged. Compare the fingerprints and seal again.",
    ),
    "bad_document": (
        "The proxy cannot read what was in the box",
        "It was not sealed by this version of the page. Reload the page and seal again.",
    ),
    "config_binding_mismatch": (
        "The box belongs to another place",
        "It was sealed for another tenant, number or version than it is stored under. "
        "Seal again, and ask your vendor how that could happen.",
    ),
    "replayed": (
        "An older version was brought back",
        "The proxy has seen a newer one and keeps it. Ask your vendor how that could happen.",
    ),
    "broken_chain": (
        "A version before this one was changed or is missing",
        "The proxy keeps the last one that fits. Ask your vendor how that could happen.",
    ),
    "audit_unavailable": (
        "The proxy cannot write its audit trail",
        f"Nothing is taken into use without a record. Your vendor has to repair it. {_AGAIN}",
    ),
    "state_not_writable": (
        "The proxy cannot keep its state",
        f"Your vendor has to repair it. {_AGAIN}",
    ),
}


def headline(reason: str) -> str:
    """What happened, in a few words."""
    return ADVICE[reason][0] if reason in ADVICE else "Refused by the proxy"


def advice(reason: str) -> str:
    """What to do; the proxy's own word when a newer proxy has one that we do not know."""
    return ADVICE[reason][1] if reason in ADVICE else f"The proxy says: {reason or 'no reason given'}. Ask your vendor."
