"""manage.py broker_seal: seal and store a configuration without a browser and its script."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from broker import services
from broker.errors import BrokerRefused
from broker.models import Config, Tenant
from broker.offline import record_for
from broker.services import Actor
from tsp import catalog
from tsp.contract import options
from tsp.contract import tenant as contract


class Command(BaseCommand):
    help = "Seal a configuration to every active proxy key and store it as the next version."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--vendor", required=True, help="the vendor's name")
        parser.add_argument("--tenant", required=True, help="the tenant's name")
        parser.add_argument("--kind", required=True, choices=["kms", "siem"])
        parser.add_argument("--provider", required=True, help="a provider of the catalogue, such as aws or splunk")
        parser.add_argument("--options-file", required=True, help="JSON object with the provider's options")
        parser.add_argument("--config", type=int, help="number of an existing configuration; without it a new one")
        parser.add_argument("--label", default="", help="a name for a new configuration; it is stored in clear")
        parser.add_argument("--secondary", action="store_true", help="kms: do not encrypt new data with this key")
        parser.add_argument("--leased", action="store_true", help="kms: let the proxy hold a leased key")
        parser.add_argument("--renew", type=int, default=contract.RENEW_SECONDS, help="kms: seconds, 30 to 300")
        parser.add_argument("--hold", type=int, default=contract.HOLD_SECONDS, help="kms: seconds, 0 to 3600")
        parser.add_argument("--count-when-full", action="store_true", help="siem: count dropped events, do not refuse")

    def handle(self, *args: Any, **said: Any) -> None:
        tenant = Tenant.objects.filter(vendor__name=said["vendor"], name=said["tenant"]).first()
        if tenant is None:
            raise CommandError("there is no such tenant: check --vendor and --tenant")
        by = Actor("manage.py broker_seal")
        try:
            config = self._config(tenant, said, by)
            record = record_for(config, _body(said))
            made = services.publish_record(tenant=tenant, record=record, by=by)
        except (BrokerRefused, contract.DocumentError, options.OptionError) as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"stored configuration {made.config_id} version {made.version} hash {made.hash}")

    def _config(self, tenant: Tenant, said: dict[str, Any], by: Actor) -> Config:
        if said["config"] is None:
            return services.allocate_config(tenant=tenant, kind=said["kind"], label=said["label"], by=by)
        found = Config.objects.filter(tenant=tenant, kind=said["kind"], number=said["config"]).first()
        if found is None:
            raise CommandError("the tenant has no configuration of that number and kind: check --config and --kind")
        return found


def _body(said: dict[str, Any]) -> contract.KmsBody | contract.SiemBody:
    kind, provider, values = said["kind"], said["provider"], _values(said["options_file"])
    forms = {form["kind"] for form in catalog.forms(kind)}
    if provider not in forms:
        raise CommandError(f"there is no provider '{provider}': choose one of " + ", ".join(sorted(forms)))
    # checked as the proxy will check them, so that a mistake shows here and now
    options.load((catalog.kms if kind == "kms" else catalog.sink)(provider).Config, values)
    if kind == "siem":
        return contract.SiemBody(provider, values, "count" if said["count_when_full"] else "refuse")
    leasing = contract.Leasing(said["leased"], said["renew"], said["hold"])
    return contract.KmsBody(provider, values, not said["secondary"], leasing)


def _values(path: str) -> dict[str, Any]:
    try:
        found = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise CommandError(f"--options-file cannot be read: {error.strerror}") from None
    except ValueError:
        raise CommandError("--options-file is not JSON") from None
    if not isinstance(found, dict):
        raise CommandError("--options-file must hold a JSON object")
    return found
