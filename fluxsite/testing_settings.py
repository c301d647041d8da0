"""Settings of the test suite: the product's own, with a data directory of its own."""

from __future__ import annotations

import os
import tempfile

if not os.environ.get("DATA_DIR"):
    # Parallel workers of the suite inherit it; conftest.py takes it away at the end.
    os.environ["DATA_DIR"] = tempfile.mkdtemp(prefix="fluxsite-test-")
# What a developer exported for a running site must not leak into the tests.
for _name in (
    *("FAL_KEY", "FAL_BASE_URL", "FAL_AUTH_SCHEME", "FAL_JWKS_URL", "SANDBOX_URL"),
    *("PUBLIC_URL", "SECRET_KEY_FALLBACKS", "HTTPS", "DEBUG"),
    *("STORAGE", "COS_BUCKET", "COS_REGION", "COS_DOMAIN", "COS_SCHEME", "COS_LOCATION"),
    *("COS_SECRET_ID", "COS_SECRET_KEY", "COS_TOKEN", "COS_URL_HOURS"),
    *("INPUT_TRANSPORT", "MEDIA_PROXY", "MEDIA_X_ACCEL"),
    *("EMAIL_URL", "EMAIL_FROM", "MAINTENANCE"),
    *("REDIS_URL", "METRICS_TOKEN", "LOG_FORMAT", "SENTRY_DSN", "ALERT_EMAILS"),
    *("CLAMAV", "UPLOAD_QUOTA_MB", "UPLOADS_PER_HOUR", "TASKS_PER_MINUTE"),
    *("OIDC_SERVER_URL", "OIDC_CLIENT_ID", "OIDC_CLIENT_SECRET", "OIDC_NAME"),
    *("OIDC_NEW_MEMBERS", "OIDC_STAFF_GROUP"),
    *("API_CHANGES_PER_MINUTE", "LOGIN_TRIES", "LOGIN_TRIES_PER_ADDRESS", "LOGIN_MINUTES"),
):
    os.environ.pop(_name, None)
os.environ["LOG_LEVEL"] = os.environ.get("TEST_LOG_LEVEL", "ERROR")

from fluxsite.settings import *  # noqa: E402, F403, TID251
from fluxsite.settings import DATABASES, MEDIA_ROOT  # noqa: E402, TID251

DATABASES["default"]["CONN_MAX_AGE"] = 0

# Counted as ever; a test that asks a thousand things a minute is about something else.
TASKS_PER_MINUTE = API_CHANGES_PER_MINUTE = 1_000_000

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
MEDIA_ROOT.mkdir(parents=True, exist_ok=True)
