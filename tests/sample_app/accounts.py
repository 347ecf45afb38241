"""People who log in with an encrypted e-mail address."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models

from encrypted_fields import EncryptedField
from encrypted_fields.search import Unique


class Accounts(BaseUserManager):  # type: ignore[type-arg]
    def get_by_natural_key(self, username: str | None) -> Any:
        return self.get(email__iexact=username)


class Account(AbstractBaseUser):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    tenant_id = models.CharField(max_length=40)
    email = EncryptedField(models.EmailField(), index=[Unique(folded=True)])
    is_active = models.BooleanField(default=True)

    objects = Accounts()
    cmk_tenant_from = "tenant_id"
    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        app_label = "sample_app"

    def __str__(self) -> str:
        return str(self.pk)
