"""What the portal refuses to do, each with an HTTP status and a word that a page can act on."""

from __future__ import annotations

from typing import ClassVar

from encrypted_fields.core.errors import InvalidRequest


class BrokerRefused(InvalidRequest):
    """A write that is not done. The message is for people and holds no value that they typed."""

    http: ClassVar[int] = 400
    reason: ClassVar[str] = "refused"


class NameTaken(BrokerRefused):
    http, reason = 409, "name_taken"
    default = "that name is taken"


class NotAName(BrokerRefused):
    reason = "not_a_name"
    default = "a name is 1 to 64 letters, digits, dots, dashes and underscores, a letter or digit first and last"


class NotAKey(BrokerRefused):
    reason = "not_a_key"
    default = "a proxy key is an X25519 public key of 32 bytes"


class NotALogo(BrokerRefused):
    reason = "not_a_logo"
    default = "a logo is a PNG, JPEG or WebP picture of at most 64 KiB"


class NotARecord(BrokerRefused):
    reason = "not_a_record"


class WrongBoxes(BrokerRefused):
    reason = "wrong_boxes"
    default = "the configuration must be sealed to each active proxy key and no other; reload the page and seal again"


class StaleVersion(BrokerRefused):
    """Somebody published between the draft and the record, or the record is a replay."""

    http, reason = 409, "stale_version"
    default = "somebody saved a newer version meanwhile; reload the page and seal again"


class UnknownConfig(BrokerRefused):
    http, reason = 404, "unknown_config"
    default = "the tenant has no configuration of that number and kind"


class NoProxyKey(BrokerRefused):
    http, reason = 409, "no_proxy_key"
    default = "the vendor has registered no proxy key yet, so there is nothing to seal to"


class UnknownTenant(BrokerRefused):
    http, reason = 404, "unknown_tenant"
    default = "the vendor has no tenant of that name"


class NotASecret(BrokerRefused):
    reason = "not_a_secret"
    default = "a tenant secret has a known type, a path of at most 4096 characters, and 1 to 4096 wrapped bytes"


class RotationRefused(BrokerRefused):
    http, reason = 409, "rotation_refused"
    default = (
        "a rotation is committed when its successor exists and has had half a minute to become known: "
        "let the SaaS derive once, wait, and try again"
    )


class BackupRefused(BrokerRefused):
    http, reason = 409, "backup_refused"
