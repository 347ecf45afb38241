"""The clinic's patients for other programs: REST framework over encrypted fields, with locked values marked."""

from __future__ import annotations

from django.db.models import QuerySet
from rest_framework import generics, serializers
from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import IsAuthenticated

from encrypted_fields.rest_framework import LockedValues
from examples.clinic.models import Patient


class PatientSerializer(LockedValues, serializers.ModelSerializer):
    """Without the notes: they have a key of their own, which this API does not ask for."""

    class Meta:
        model = Patient
        fields = ("id", "reference", "name", "born", "phone", "city")


class Patients(generics.ListAPIView):
    """GET: the patients of the clinic that the user works at."""

    authentication_classes = (SessionAuthentication,)
    permission_classes = (IsAuthenticated,)
    serializer_class = PatientSerializer

    def get_queryset(self) -> QuerySet[Patient]:
        return Patient.objects.filter(clinic__staff__user=self.request.user.pk)
