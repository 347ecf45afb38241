"""The few forms that the server itself reads. What a tenant seals is never one of them."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.forms import AuthenticationForm


class SignIn(AuthenticationForm):
    """E-mail address and password."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["username"].widget = forms.EmailInput(
            attrs={"autofocus": True, "autocomplete": "username", "maxlength": 254}
        )
        self.fields["username"].label = "E-mail address"

    def clean_username(self) -> str:
        return str(self.cleaned_data["username"]).strip().lower()


class Switch(forms.Form):
    """On or off."""

    enabled = forms.TypedChoiceField(choices=[("on", "on"), ("off", "off")], coerce=lambda value: value == "on")
