"""What the portal stores: people, proxies, sealed configurations, and the trail of every change."""

from broker.models.configs import Config, ConfigStatus, ConfigVersion, Counter
from broker.models.people import Member, Tenant, User, Vendor
from broker.models.proxies import ProxyInstance, ProxyKey, ServiceToken
from broker.models.secrets import TenantSecret
from broker.models.trail import Trail

__all__ = [
    "Config",
    "ConfigStatus",
    "ConfigVersion",
    "Counter",
    "Member",
    "ProxyInstance",
    "ProxyKey",
    "ServiceToken",
    "Tenant",
    "TenantSecret",
    "Trail",
    "User",
    "Vendor",
]
