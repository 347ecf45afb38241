"""The portal's addresses."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.views import LogoutView
from django.urls import include, path

from broker.views import brand, entrance, sealing, secrets, tenant, vendor

urlpatterns = [
    path("api/", include("broker.api.urls")),
    path("", entrance.home, name="home"),
    path("login/", entrance.Entrance.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("brand/<uuid:vendor>/colours.css", brand.colours, name="colours"),
    path("brand/<uuid:vendor>/logo", brand.logo, name="logo"),
    path("vendors/<uuid:vendor>/", vendor.tenants, name="vendor"),
    path("tenants/<uuid:tenant>/", tenant.dashboard, name="dashboard"),
    path("tenants/<uuid:tenant>/<kind:kind>/", sealing.sealing, name="sealing"),
    path("tenants/<uuid:tenant>/configs/<number:number>/switch", tenant.switch, name="switch"),
    path("tenants/<uuid:tenant>/secrets/", secrets.listing, name="secrets"),
    path("tenants/<uuid:tenant>/secrets/<secret:secret>/<step:step>", secrets.rotate, name="secret-rotate"),
    path("tenants/<uuid:tenant>/history/", tenant.history, name="history"),
    path("tenants/<uuid:tenant>/members/", tenant.members, name="members"),
    path("tenants/<uuid:tenant>/activity/", tenant.activity, name="activity"),
    path("admin/", admin.site.urls),
]
