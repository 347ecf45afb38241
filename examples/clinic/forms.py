"""What staff type in."""

from __future__ import annotations

import base64
import binascii
from typing import Any, ClassVar

from django import forms

from examples.clinic.models import Attachment, Clinic, Patient, Staff


class PatientForm(forms.ModelForm):
    """A new patient of the clinic that the user works at: an ordinary form over encrypted fields."""

    class Meta:
        model = Patient
        fields = ("reference", "name", "born", "phone", "city", "photo", "notes")
        widgets: ClassVar = {
            "born": forms.DateInput(attrs={"type": "date"}),
            "phone": forms.TextInput(attrs={"type": "tel"}),
            "notes": forms.Textarea(attrs={"rows": 5}),
        }

    def patient(self, clinic: Clinic) -> Patient:
        self.instance.clinic = clinic
        return self.instance


class SearchForm(forms.Form):
    """A name, its beginning of three letters or more, the last four digits of a phone number, or a reference."""

    ORDERS = (("reference", "by reference"), ("name", "by name"), ("born", "by date of birth"))

    q = forms.CharField(
        required=False, max_length=200, label="Search", widget=forms.TextInput(attrs={"type": "search"})
    )
    order = forms.ChoiceField(required=False, choices=ORDERS, label="Order")


class AttachmentForm(forms.Form):
    """A file of at most 20 MB."""

    title = forms.CharField(max_length=100)
    file = forms.FileField()

    def clean_file(self) -> object:
        file = self.cleaned_data["file"]
        if file.size > 20_000_000:
            raise forms.ValidationError("Choose a file of at most 20 MB.")
        return file

    def attachment(self, patient: Patient) -> Attachment:
        return Attachment(patient=patient, **self.cleaned_data)


class SealedNoteForm(forms.ModelForm):
    """For the doctors only: sealed in the browser, so that what is typed never comes here."""

    class Meta:
        model = Patient
        fields = ("private_note", "private_file")

    def clean(self) -> dict[str, Any]:
        """Nothing given keeps what the row holds, which is not what somebody wants to hear who has just written."""
        if not self.has_changed():
            raise forms.ValidationError("Nothing sealed has come, so nothing was stored. Write or choose it again.")
        return super().clean() or self.cleaned_data

    @property
    def outcome(self) -> str:
        """What to say when it was saved."""
        if any(self.cleaned_data[name] for name in self.changed_data):
            return "Sealed and stored. Only the doctors can open it."
        return "Removed."


class PublicKeyForm(forms.Form):
    """The public half of a key pair that the browser has made."""

    public_key = forms.CharField(max_length=44)

    def clean_public_key(self) -> bytes:
        try:
            key = base64.b64decode(self.cleaned_data["public_key"], validate=True)
        except binascii.Error:
            key = b""
        if len(key) != 32:
            raise forms.ValidationError("This is no public key.")
        return key

    def save_to(self, staff: Staff) -> None:
        staff.public_key = self.cleaned_data["public_key"]
        staff.save(update_fields=["public_key"])
