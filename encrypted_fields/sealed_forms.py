"""Form fields whose content is sealed in the browser: what is typed has no name in the form, so it is never submitted.

The page needs `{{ form.media }}` and a content security policy with script-src 'self' 'wasm-unsafe-eval'.
"""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.forms.boundfield import BoundField
from django.forms.widgets import Script

from encrypted_fields.core.client_sealed import Shape, shape_of_file
from encrypted_fields.fields.client_sealed import ClientSealed
from encrypted_fields.recipients import for_browser

LIBSODIUM = ("vendor/libsodium.js", "vendor/libsodium-wrappers.js")


def sealing_media(module: str = "encrypted_fields/js/seal.js") -> forms.Media:
    """libsodium, from where CMK_LIBSODIUM says that it lies among the static files, and the script that seals (or
    opens: "encrypted_fields/js/open.js"; or makes keys: "encrypted_fields/js/new-key.js")."""
    paths = getattr(settings, "CMK_LIBSODIUM", LIBSODIUM)
    scripts: list[Any] = [*(Script(path, defer=True) for path in paths), Script(module, type="module")]
    return forms.Media(js=scripts)


class ClientSealedInput(forms.Widget):
    """A text area or file input without a name, and what the script needs to seal what is put into it."""

    template_name = "encrypted_fields/client_sealed.html"
    kind = "text"

    @property
    def media(self) -> forms.Media:
        return sealing_media()

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        context = super().get_context(name, None, attrs)
        about = context["widget"]
        bound: SealedBoundField | None = getattr(self, "bound", None)
        about["kind"] = self.kind
        about["holds"] = "" if not value or isinstance(value, str) else self.holds(value)
        about["kept"] = value if isinstance(value, str) else ""
        about["recipients"] = [] if bound is None else bound.recipients
        about["script"] = {} if bound is None else bound.script()
        about["clearable"] = bool(about["holds"]) and not self.is_required
        return context

    def value_from_datadict(self, data: Any, files: Any, name: str) -> Any:
        found = self._given(data, files, name)
        return False if not found and f"{name}-clear" in data and not self.is_required else found

    def value_omitted_from_data(self, data: Any, files: Any, name: str) -> bool:
        return not self._given(data, files, name) and f"{name}-clear" not in data

    def holds(self, value: Any) -> str:
        return str(value)

    def use_required_attribute(self, initial: Any) -> bool:
        return super().use_required_attribute(initial) and not initial

    def _given(self, data: Any, files: Any, name: str) -> Any:
        return data.get(name)


class ClientSealedFileInput(ClientSealedInput):
    kind = "file"
    needs_multipart_form = True

    def holds(self, value: Any) -> str:
        return "a file, sealed in the browser"

    def _given(self, data: Any, files: Any, name: str) -> Any:
        return files.get(name)


def without_named_input(options: dict[str, Any]) -> dict[str, Any]:
    """Without a widget that would submit what is typed: the admin has one of its own for every file field."""
    widget = options.get("widget")
    kind = widget if isinstance(widget, type) else type(widget)
    return options if issubclass(kind, ClientSealedInput) else {k: v for k, v in options.items() if k != "widget"}


class SealedBoundField(BoundField):
    """Knows the row of its form: the recipients and the place come from there."""

    field: Any

    def __init__(self, form: Any, field: Any, name: str) -> None:
        super().__init__(form, field, name)
        field.of(self)

    @property
    def row(self) -> Any:
        found = getattr(self.form, "instance", None)
        if found is None:
            raise TypeError("a field that is sealed in the browser belongs into a ModelForm, which knows its row")
        return found

    @property
    def recipients(self) -> list[Any]:
        found: list[Any] = self.field.sealed.recipients_of(self.row)
        return found

    def script(self) -> dict[str, str]:
        """Attributes of the widget. Bound to the row when there is one already."""
        sealed, bound = self.field.sealed, not self.row._state.adding
        return {
            "place": sealed.place(self.row, bound=bound),
            "bound": "1" if bound else "0",
            "recipients": json.dumps(for_browser(self.recipients)),
            "most": str(sealed.max_size),
        }

    def problem(self, shape: Shape) -> str:
        """Why a new value is not taken; empty when it is."""
        if set(shape.recipients) != {one.key_id for one in self.recipients}:
            return "The recipients have changed meanwhile. Seal it again."
        if not self.row._state.adding and not shape.bound:
            return "It was not sealed for this row. Reload the page and seal it again."
        return str(self.field.sealed.refusal(shape))


class _Sealed:
    """What both fields do. Nothing given keeps what the row holds."""

    sealed: Any
    widget: Any
    bound: SealedBoundField

    def get_bound_field(self, form: Any, field_name: str) -> SealedBoundField:
        return SealedBoundField(form, self, field_name)

    def of(self, bound: SealedBoundField) -> None:
        self.bound = self.widget.bound = bound

    def check_new(self, shape: Shape) -> None:
        problem = self.bound.problem(shape)
        if problem:
            raise ValidationError(problem, code="not_taken")


class ClientSealedFormField(_Sealed, forms.Field):
    """Takes base64 of what the browser sealed."""

    widget = ClientSealedInput

    def __init__(self, *, sealed: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sealed = sealed

    def clean(self, value: Any) -> ClientSealed | None:
        if value is False:
            return None
        held = self.bound.initial
        made: ClientSealed | None = self.sealed.to_python(value or held)
        if not value and held:
            return made
        self.validate(made)
        if made is not None:
            self.check_new(made.shape)
        return made

    def bound_data(self, data: Any, initial: Any) -> Any:
        return data or initial

    def has_changed(self, initial: Any, data: Any) -> bool:
        return data is False or bool(data)


class ClientSealedFormFileField(_Sealed, forms.FileField):
    """Takes a file that the browser sealed."""

    widget = ClientSealedFileInput

    def __init__(self, *, sealed: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sealed = sealed

    def clean(self, data: Any, initial: Any = None) -> Any:
        found = super().clean(data, initial)
        if data and found is data:
            problem = self.sealed.problem(data)
            if problem:
                raise ValidationError(problem, code="not_sealed")
            self.check_new(shape_of_file(data, data.size))
        return found
