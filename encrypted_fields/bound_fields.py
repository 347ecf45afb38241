"""What a form shows for a value that the customer withdrew: a sentence that cannot be edited, and nothing to save.

Each form field that is made of an encrypted field is told (`EncryptedField.formfield`), so every ModelForm does this.
"""

from __future__ import annotations

from typing import Any

from django import forms
from django.forms.boundfield import BoundField

from encrypted_fields.fields.sealed import Locked

KEPT = "Saving keeps the stored value."


class LockedFormField(forms.Field):
    """In the place of the field, for one row: whatever is posted under its name, the value stays as it is."""

    def __init__(self, instead_of: forms.Field) -> None:
        help_text = f"{instead_of.help_text} {KEPT}".strip()
        widget = forms.TextInput(attrs={"class": "cmk-locked"})
        super().__init__(required=False, disabled=True, label=instead_of.label, help_text=help_text, widget=widget)

    def clean(self, value: Any) -> Any:
        return value


class OmittedField(BoundField):
    """Left out of the page: not visible, and empty where a template asks for it by name."""

    @property
    def is_hidden(self) -> bool:
        return True

    def as_widget(self, *_: Any, **__: Any) -> Any:
        return ""

    def as_hidden(self, *_: Any, **__: Any) -> Any:
        return ""


class BoundFor:
    """`bound_field_class` of the form fields of one encrypted field."""

    def __init__(self, *, omits: bool) -> None:
        self._omits = omits

    def __call__(self, form: Any, field: forms.Field, name: str) -> BoundField:
        usual: type[BoundField] = getattr(form, "bound_field_class", None) or BoundField
        if not isinstance(form.get_initial_for_field(field, name), Locked):
            return usual(form, field, name)
        return (OmittedField if self._omits else usual)(form, LockedFormField(field), name)
