"""Every write of the portal: keyword-only, atomic, and one row in the trail for each."""

from broker.services.backup import export_secrets, restore_secrets
from broker.services.configs import allocate_config, draft, publish_record, set_config_enabled
from broker.services.people import (
    add_member,
    add_operator,
    create_tenant,
    create_vendor,
    require_leasing,
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
from broker.services.secrets import begin_rotation, commit_rotation, keep_secret
from broker.services.trail import Actor

__all__ = [
    "Actor",
    "add_member",
    "add_operator",
    "allocate_config",
    "begin_rotation",
    "commit_rotation",
    "create_tenant",
    "create_vendor",
    "draft",
    "export_secrets",
    "issue_service_token",
    "keep_secret",
    "publish_record",
    "record_status",
    "register_proxy_key",
    "require_leasing",
    "restore_secrets",
    "restyle_tenant",
    "restyle_vendor",
    "retire_proxy_key",
    "revoke_service_token",
    "set_config_enabled",
]
