"""Every write of the portal: keyword-only, atomic, and one row in the trail for each."""

from broker.services.configs import allocate_config, draft, publish_record, set_config_enabled
from broker.services.people import (
    add_member,
    add_operator,
    create_tenant,
    create_vendor,
    restyle_tenant,
    restyle_vendor,
)
from broker.services.proxies import (
    issue_service_token,
    record_status,
    register_proxy_key,
    retire_proxy_key,
    revoke_service_token,
)
from broker.services.trail import Actor

__all__ = [
    "Actor",
    "add_member",
    "add_operator",
    "allocate_config",
    "create_tenant",
    "create_vendor",
    "draft",
    "issue_service_token",
    "publish_record",
    "record_status",
    "register_proxy_key",
    "restyle_tenant",
    "restyle_vendor",
    "retire_proxy_key",
    "revoke_service_token",
    "set_config_enabled",
]
