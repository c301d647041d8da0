from __future__ import annotations

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LogoutView
from django.urls import include, path, re_path
from django.views.generic import RedirectView

from fluxsite import account, assets
from fluxsite.api_docs import DocsView, SchemaView
from fluxsite.health import healthz, readyz
from fluxsite.operations import views as operations
from fluxsite.operations.dashboard import dashboard
from fluxsite.reports.views import exports

urlpatterns = [
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
    path("metrics", operations.metrics, name="metrics"),
    path("login", account.Login.as_view(), name="login"),
    path("logout", LogoutView.as_view(), name="logout"),
    path("language", account.choose_language, name="set_language"),
    path("theme", account.choose_theme, name="theme"),
    path("account", account.account, name="account"),
    path("account/password", account.Password.as_view(), name="password"),
    path("tokens", account.tokens, name="tokens"),
    path("tokens/<int:token_id>/revoke", account.revoke_token, name="revoke_token"),
    path("password/reset", account.ResetPassword.as_view(), name="password_reset"),
    path("password/reset/sent", account.ResetSent.as_view(), name="password_reset_sent"),
    path(
        "password/reset/<uidb64>/<token>",
        account.NewPassword.as_view(),
        name="password_reset_confirm",
    ),
    # One door where passwords are changed.
    path(
        "admin/password_change/",
        login_required(RedirectView.as_view(pattern_name="password")),
    ),
    path("admin/dashboard/", admin.site.admin_view(dashboard), name="dashboard"),
    path("admin/exports/", admin.site.admin_view(exports), name="exports"),
    path("admin/", admin.site.urls),
    path("api/schema", SchemaView.as_view(), name="schema"),
    path("api/docs", DocsView.as_view(url_name="schema"), name="docs"),
    path("api/flux/", include("generation.api.urls")),
    path("v1/", include("generation.openai_api.urls")),
    re_path(r"^static/(?:[0-9a-f]{8}/)?(?P<path>.*[^/])$", assets.of_another_release),
    path("", include("credits.urls")),
    path("", include("history.urls")),
    path("", include("generation.urls")),
]

if settings.OIDC_SERVER_URL:
    # Below the login, which maintenance leaves open. Nothing else of allauth has an address.
    urlpatterns.insert(
        0, path("login/", include("allauth.socialaccount.providers.openid_connect.urls"))
    )

handler400 = "fluxsite.api.bad_request"
handler404 = "fluxsite.api.not_found"
handler500 = "fluxsite.api.server_error"
