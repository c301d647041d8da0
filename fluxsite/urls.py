from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import include, path
from django.views.i18n import set_language
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from fluxsite.health import healthz

urlpatterns = [
    path("healthz", healthz, name="healthz"),
    path("login", LoginView.as_view(redirect_authenticated_user=True), name="login"),
    path("logout", LogoutView.as_view(), name="logout"),
    path("language", set_language, name="set_language"),
    path("admin/", admin.site.urls),
    path("api/schema", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
    path("api/flux/", include("generation.api.urls")),
    path("", include("credits.urls")),
    path("", include("history.urls")),
    path("", include("generation.urls")),
]

handler400 = "fluxsite.api.bad_request"
handler404 = "fluxsite.api.not_found"
handler500 = "fluxsite.api.server_error"
