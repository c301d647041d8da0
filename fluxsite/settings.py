"""Settings: one file, everything from the environment, safe defaults.

docs/configuration.md lists every variable; a test keeps that table complete.
"""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

from fluxsite import assets, env, keys, sqlite

BASE_DIR = Path(__file__).resolve().parent.parent
VERSION = re.search(r"^## (\S+)", (BASE_DIR / "CHANGELOG.md").read_text(), re.MULTILINE)[1]  # type: ignore[index]

# ---------------------------------------------------------------- where things live
DATA_DIR = env.path("DATA_DIR", BASE_DIR / "data")
# The database in it holds sessions and prompts: nobody else on the machine reads along.
try:
    DATA_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
except OSError as _error:
    _problem = f"DATA_DIR must be a directory that we may make or write to: {_error}"
    raise ImproperlyConfigured(_problem) from _error
MEDIA_ROOT = DATA_DIR / "media"

# ---------------------------------------------------------------- security
DEBUG = env.flag("DEBUG", default=False)
SECRET_KEY = env.text("SECRET_KEY") or keys.load_or_create(
    DATA_DIR / "secret_key", make=keys.new_secret_key
)
# What was signed with these counts as well: while the secret key is being replaced.
SECRET_KEY_FALLBACKS = env.words("SECRET_KEY_FALLBACKS")
# First key encrypts, all keys decrypt: put a new one in front to rotate.
FIELD_ENCRYPTION_KEYS = (
    env.words("FIELD_ENCRYPTION_KEYS")
    or keys.load_or_create(DATA_DIR / "field_key", make=keys.new_field_key).split()
)
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", "*")
CSRF_TRUSTED_ORIGINS = env.words(
    "CSRF_TRUSTED_ORIGINS", pattern=r"https?://[^\s/?#]+", like="https://studio.example.org"
)

# Set once a proxy in front of us speaks TLS; without it cookies must travel over plain HTTP.
HTTPS = env.flag("HTTPS", default=False)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SECURE_SSL_REDIRECT = HTTPS
# Load balancers and monitors ask over plain HTTP.
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
# We speak for our own name, not for all below it, nor for a list in browsers.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
SECURE_PROXY_SSL_HEADER = (
    ("HTTP_X_FORWARDED_PROTO", "https") if env.flag("BEHIND_PROXY", default=False) else None
)
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# The same name and shape as Django 6 uses, so that its own middleware can take over.
SECURE_CSP = {
    "default-src": ["'self'"],
    "img-src": [
        "'self'",
        "data:",
        "blob:",
        *env.words("IMAGE_ORIGINS", "https://*.fal.media https://*.falcdn.com"),
    ],
    "object-src": ["'none'"],
    "base-uri": ["'none'"],
    "form-action": ["'self'"],
    "frame-ancestors": ["'none'"],
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 200
DATA_UPLOAD_MAX_NUMBER_FILES = 20
FILE_UPLOAD_MAX_MEMORY_SIZE = 2 * 1024 * 1024
FILE_UPLOAD_HANDLERS = [
    "generation.receiving.BoundedFiles",
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "django.core.files.uploadhandler.TemporaryFileUploadHandler",
]

# Wrong passwords in so many minutes: for one name from one address, and for all names from one.
LOGIN_TRIES = env.integer("LOGIN_TRIES", 5)
LOGIN_TRIES_PER_ADDRESS = env.integer("LOGIN_TRIES_PER_ADDRESS", 100)
AUTHENTICATION_BACKENDS = [
    "fluxsite.logging_in.Door",
    "django.contrib.auth.backends.ModelBackend",
]
AXES_ENABLED = LOGIN_TRIES > 0
AXES_COOLOFF_TIME = timedelta(minutes=env.integer("LOGIN_MINUTES", 15, minimum=1))
AXES_HANDLER = "fluxsite.logging_in.Handler"
AXES_LOCKOUT_CALLABLE = "fluxsite.logging_in.locked_out"
AXES_CLIENT_IP_CALLABLE = "fluxsite.logging_in.address_of"
# What our handler does by itself, said so that axes' own checks know it.
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
# Its pages show what was typed; ours are in fluxsite/admin.py.
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False

AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
]

# ---------------------------------------------------------------- single sign-on
# Members who come by an OpenID Connect provider (fluxsite/sso.py); needs requirements-sso.txt.
OIDC_SERVER_URL = env.text("OIDC_SERVER_URL").rstrip("/")
OIDC_CLIENT_ID = env.text("OIDC_CLIENT_ID")
OIDC_CLIENT_SECRET = env.text("OIDC_CLIENT_SECRET")
OIDC_NAME = env.text("OIDC_NAME", "SSO")
# Whether whoever the provider knows is let in, or only whose verified address we know.
OIDC_NEW_MEMBERS = env.flag("OIDC_NEW_MEMBERS", default=True)
# The group, in the claim `groups`, whose members are staff here; none: no claim makes anybody staff.
OIDC_STAFF_GROUP = env.text("OIDC_STAFF_GROUP")
if OIDC_SERVER_URL and not re.fullmatch(
    r"https://[^\s?#]+|http://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?(/[^\s?#]*)?", OIDC_SERVER_URL
):
    _problem = f"OIDC_SERVER_URL must be an https:// address, not {OIDC_SERVER_URL!r}."
    raise ImproperlyConfigured(_problem)
if OIDC_SERVER_URL and not OIDC_CLIENT_ID:
    _problem = "OIDC_SERVER_URL is set, but OIDC_CLIENT_ID is not."
    raise ImproperlyConfigured(_problem)

# ---------------------------------------------------------------- mail
# For those who forgot their password, and for staff when something is wrong with the site.
_mail = env.email("EMAIL_URL")
EMAIL_HOST = _mail.get("EMAIL_HOST") or ""
EMAIL_PORT = _mail.get("EMAIL_PORT") or 25
EMAIL_HOST_USER = _mail.get("EMAIL_HOST_USER") or ""
EMAIL_HOST_PASSWORD = _mail.get("EMAIL_HOST_PASSWORD") or ""
EMAIL_USE_TLS = _mail.get("EMAIL_USE_TLS", False)
EMAIL_USE_SSL = _mail.get("EMAIL_USE_SSL", False)
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env.text("EMAIL_FROM", "fluxsite@localhost")

# ---------------------------------------------------------------- maintenance
# Members see a page that says so, staff still get in. A file does the same without a restart.
MAINTENANCE = env.flag("MAINTENANCE", default=False)
MAINTENANCE_FILE = DATA_DIR / "maintenance"

# ---------------------------------------------------------------- apps
INSTALLED_APPS = [
    "fluxsite.audit_log.apps.AuditedAdminConfig",  # django.contrib.admin
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_q",
    "axes",
    "fluxsite",
    "credits",
    "generation",
    "history",
]

MIDDLEWARE = [
    # Styles and scripts need nothing of what follows.
    "fluxsite.compression.middleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "fluxsite.middleware.request_id",
    "django.middleware.security.SecurityMiddleware",
    "fluxsite.middleware.content_security_policy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "fluxsite.middleware.files_by_token",
    "fluxsite.maintenance.middleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]

if OIDC_SERVER_URL:
    _place = INSTALLED_APPS.index("fluxsite")
    INSTALLED_APPS[_place:_place] = [
        "allauth",
        "allauth.account",
        "allauth.socialaccount",
        "allauth.socialaccount.providers.openid_connect",
    ]
    MIDDLEWARE += ["allauth.account.middleware.AccountMiddleware"]
    ACCOUNT_EMAIL_VERIFICATION = "none"
    SOCIALACCOUNT_ADAPTER = "fluxsite.sso.Adapter"
    SOCIALACCOUNT_OPENID_CONNECT_URL_PREFIX = ""
    # A link, not a form: the policy of our pages lets forms lead nowhere else. What a stranger's
    # page could do with it is log somebody in as themselves.
    SOCIALACCOUNT_LOGIN_ON_GET = True
    SOCIALACCOUNT_STORE_TOKENS = False
    SOCIALACCOUNT_PROVIDERS = {
        "openid_connect": {
            "OAUTH_PKCE_ENABLED": True,
            "APPS": [
                {
                    "provider_id": "oidc",
                    "name": OIDC_NAME,
                    "client_id": OIDC_CLIENT_ID,
                    "secret": OIDC_CLIENT_SECRET,
                    "settings": {"server_url": OIDC_SERVER_URL},
                }
            ],
        }
    }

ROOT_URLCONF = "fluxsite.urls"
WSGI_APPLICATION = "fluxsite.wsgi.application"
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "generation:studio"
LOGOUT_REDIRECT_URL = "login"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

# ---------------------------------------------------------------- database
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": env.database("DATABASE_URL") or {"NAME": DATA_DIR / "fluxsite.sqlite3"}}
if DATABASES["default"].get("ENGINE", "django.db.backends.sqlite3").endswith("sqlite3"):
    DATABASES["default"] |= {
        # Django's own, with writers who take turns (docs/adr/0007).
        "ENGINE": "fluxsite.sqlite",
        "OPTIONS": {
            # A transaction that will write takes the write lock at once; one that started by
            # reading could otherwise fail with "database is locked" when it wants to write.
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": sqlite.PRAGMAS,
        },
        # A file, not memory: threads and child processes of the tests share it.
        "TEST": {"NAME": DATA_DIR / "test.sqlite3"},
    }
DATABASES["default"]["CONN_MAX_AGE"] = None
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True

# ---------------------------------------------------------------- background work
Q_CLUSTER = {
    "name": "fluxsite",
    "orm": "default",
    "workers": env.integer("WORKERS", 4, minimum=2),
    # Near the number of workers: what waits inside a cluster past `retry` runs twice.
    "queue_limit": env.integer("WORKERS", 4, minimum=2),
    "poll": 0.2,
    "timeout": 180,
    "retry": 300,
    # Retrying is our rows' business: a message is only a wake-up.
    "max_attempts": 1,
    "ack_failures": True,
    "save_limit": -1,
    "catch_up": False,
    "label": _("Background work"),
}

# Says to the workers at once that there is something to do; the queue itself is in the database.
REDIS_URL = env.matching(
    "REDIS_URL", r"rediss?://\S+|unix:///\S+", like="redis://:password@host:6379/0", secret=True
)
if REDIS_URL:
    Q_CLUSTER["broker_class"] = "fluxsite.bell.Broker"

# Pictures stored at the same time: two workers stay free, for the sweep and its successor.
STORE_WORKERS = env.integer("WORKERS", 4, minimum=2) - 2

# ---------------------------------------------------------------- live status
# Pages that are told what changes, in each process of the web server; others ask.
LIVE_STREAMS = env.integer("LIVE_STREAMS", 1000)

# ---------------------------------------------------------------- OpenAI's images API
# How long its callers wait for a picture, and how many in each process of the web server.
OPENAI_WAIT_SECONDS = env.integer("OPENAI_WAIT_SECONDS", 280, minimum=1)
OPENAI_WAITING = env.integer("OPENAI_WAITING", 200, minimum=1)

# ---------------------------------------------------------------- fal
# The environment seeds the first configuration row; after that the admin page decides.
FAL_KEY = env.text("FAL_KEY")
FAL_BASE_URL = env.matching("FAL_BASE_URL", r"https?://[^\s?#]+", like="https://queue.fal.run")
FAL_AUTH_SCHEME = env.matching("FAL_AUTH_SCHEME", "Key|Bearer", like="Key or Bearer")
# Where the built-in stand-in for fal listens; `start` sets it for its children.
SANDBOX_URL = env.text("SANDBOX_URL")
# Where the world reaches this site. The provider announces results there, if it is asked to.
PUBLIC_URL = env.text("PUBLIC_URL").rstrip("/")
if PUBLIC_URL and not re.fullmatch(
    r"https?://([\w.-]+|\[[\da-f:.]+\])(:\d{1,5})?", PUBLIC_URL, re.A
):
    _problem = f"PUBLIC_URL must be like https://studio.example.org, not {PUBLIC_URL!r}."
    raise ImproperlyConfigured(_problem)
# The public keys its announcements are signed with.
FAL_JWKS_URL = env.text("FAL_JWKS_URL", "https://rest.fal.ai/.well-known/jwks.json")
if not re.fullmatch(r"https?://[^\s/@?#]+/[^\s#]*", FAL_JWKS_URL):
    _problem = f"FAL_JWKS_URL must be an http(s) address, not {FAL_JWKS_URL!r}."
    raise ImproperlyConfigured(_problem)
# Result pictures are fetched from these hosts, and from the host of the base URL.
RESULT_HOSTS = env.words(
    "RESULT_HOSTS",
    ".fal.media .falcdn.com",
    pattern=r"[^\s/@?#]+",
    like=".fal.media or files.example.org",
)

# ---------------------------------------------------------------- pictures
# On this machine's disk or in a bucket of Tencent COS: docs/storage.md, fluxsite/checks.py.
STORAGE = env.choice("STORAGE", "local", among=("local", "cos"))
COS_SECRET_ID = env.text("COS_SECRET_ID")
COS_SECRET_KEY = env.text("COS_SECRET_KEY")
COS_TOKEN = env.text("COS_TOKEN")
COS_REGION = env.text("COS_REGION")
COS_BUCKET = env.text("COS_BUCKET")
COS_DOMAIN = env.text("COS_DOMAIN")
COS_SCHEME = env.text("COS_SCHEME", "https")
COS_LOCATION = env.text("COS_LOCATION")
COS_URL_HOURS = env.integer("COS_URL_HOURS", 6)

# Names are deterministic: storing a picture again replaces it with itself.
_places = {
    "local": {
        "BACKEND": "fluxsite.disk.DiskStorage",
        "OPTIONS": {"location": MEDIA_ROOT, "allow_overwrite": True},
    },
    "cos": {
        "BACKEND": "fluxsite.cos.COSStorage",
        "OPTIONS": {
            "secret_id": COS_SECRET_ID,
            "secret_key": COS_SECRET_KEY,
            "token": COS_TOKEN,
            "region": COS_REGION,
            "bucket_name": COS_BUCKET,
            "domain": COS_DOMAIN,
            "scheme": COS_SCHEME,
            "location": COS_LOCATION,
            "url_window": COS_URL_HOURS * 3600,
        },
    },
}
STORAGES = {
    "default": {**_places[STORAGE]},
    "local": _places["local"],
    # Beside the one in use, so that pictures can be moved from one to the other.
    **({"cos": _places["cos"]} if COS_BUCKET else {}),
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
if STORAGE == "cos":
    # `/media/<id>` sends browsers there.
    _host = COS_DOMAIN or f"{COS_BUCKET}.cos.{COS_REGION}.myqcloud.com"
    SECURE_CSP["img-src"].append(f"{COS_SCHEME}://{_host}")
FILE_UPLOAD_PERMISSIONS = 0o600
FILE_UPLOAD_DIRECTORY_PERMISSIONS = 0o700
MAX_UPLOAD_BYTES = 10 * 1024 * 1024
# A form with as many pictures as the studio takes at once, and its fields.
MAX_FORM_BYTES = 8 * MAX_UPLOAD_BYTES + 2 * DATA_UPLOAD_MAX_MEMORY_SIZE
# What a member's reference pictures may take together, and how many may come; 0: no limit.
UPLOAD_QUOTA_MB = env.integer("UPLOAD_QUOTA_MB", 2048)
UPLOADS_PER_HOUR = env.integer("UPLOADS_PER_HOUR", 240)
# How many tasks a member may begin, and how often change anything else by API; 0: no limit.
TASKS_PER_MINUTE = env.integer("TASKS_PER_MINUTE", 120)
API_CHANGES_PER_MINUTE = env.integer("API_CHANGES_PER_MINUTE", 600)
# A virus scanner, clamd, that sees every upload before we do.
CLAMAV = env.address("CLAMAV")
CLAMAV_SECONDS = 20.0
MAX_RESULT_BYTES = 64 * 1024 * 1024
MAX_EXPORT_BYTES = 1024 * 1024 * 1024
# How reference pictures go to the provider: as addresses, as data, or as it fits.
INPUT_TRANSPORT = env.choice("INPUT_TRANSPORT", "auto", among=("auto", "url", "data"))
# The internal location of a proxy that sends our files for us (nginx: X-Accel-Redirect).
MEDIA_X_ACCEL = env.text("MEDIA_X_ACCEL").rstrip("/")
# Pictures in the bucket pass through us, for visitors who cannot reach it.
MEDIA_PROXY = env.flag("MEDIA_PROXY", default=False)

# ---------------------------------------------------------------- credits
# Off: nothing is priced, reserved or shown, and members draw as much as they like.
CREDITS_ENABLED = env.flag("CREDITS_ENABLED", default=True)
# What a new member has to begin with.
CREDITS_STARTING_GRANT = env.integer("CREDITS_STARTING_GRANT", 500)
# Who can say what a ledger reference `flux:<id>` stands for (credits/subjects.py).
CREDITS_SUBJECTS = {"flux": "generation.ledger_subjects.flux_tasks"}

# ---------------------------------------------------------------- history
HISTORY_SOURCES = [
    "generation.history_sources.FluxSource",
    "generation.history_sources.MidjourneySource",
    "generation.history_sources.JimengSource",
]

# ---------------------------------------------------------------- API
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "fluxsite.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": [
        "rest_framework.permissions.IsAuthenticated",
        "fluxsite.authentication.TokenScope",
    ],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "fluxsite.browsing.PagesForStaff",
    "DEFAULT_THROTTLE_CLASSES": ["fluxsite.throttling.ChangesThrottle"],
    "DEFAULT_PARSER_CLASSES": ["fluxsite.api.BoundedJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "fluxsite.openapi.Schema",
    "EXCEPTION_HANDLER": "fluxsite.api.exception_handler",
    # Whose word on a caller's address counts: our own proxy's, or nobody's.
    "NUM_PROXIES": 1 if SECURE_PROXY_SSL_HEADER else 0,
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Fluxsite",
    "DESCRIPTION": (
        "Draw pictures, follow them, and read everything ever made.\n\n"
        "Every error has the same body: `code` for programs, `detail` for people, `errors` where "
        "fields are to blame, and `request_id`. Beside the answers named with an operation there "
        "are 404 for an address that does not exist, 405 for a method an address does not take, "
        "and 500 for a fault of ours. Bodies are JSON in UTF-8 of at most 1 MB, except pictures."
    ),
    "VERSION": VERSION,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "fluxsite.openapi.add_components",
    ],
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.IsAuthenticated"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
}

# ---------------------------------------------------------------- language and time
LANGUAGE_CODE = env.choice("LANGUAGE_CODE", "en", among=("en", "zh-hans"))
LANGUAGES = [("zh-hans", "中文"), ("en", "English")]
LOCALE_PATHS = [BASE_DIR / "locale"]
USE_I18N = True
USE_TZ = True
TIME_ZONE = env.time_zone("TIME_ZONE", "UTC")

# ---------------------------------------------------------------- static files
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_URL = assets.ROOT
# All that bring styles and scripts of their own.
_PACKAGES = ["django", "djangorestframework", "drf-spectacular-sidecar"]
if not DEBUG:  # Else files change while we run.
    _release = assets.release(STATICFILES_DIRS[0], packages=_PACKAGES)
    STATIC_URL += f"{_release}/"
    WHITENOISE_IMMUTABLE_FILE_TEST = f"^{STATIC_URL}"
# Served straight from where they lie: no collecting step between clone and page.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG
WHITENOISE_ADD_HEADERS_FUNCTION = assets.add_headers
WHITENOISE_ALLOW_ALL_ORIGINS = False

# ---------------------------------------------------------------- being watched
# What Prometheus shows to read /metrics; staff who are signed in need none.
METRICS_TOKEN = env.text("METRICS_TOKEN")

# Who is told by mail when something is wrong; nobody named: all staff who have an address.
ALERT_EMAILS = env.words("ALERT_EMAILS")
# Where errors are reported to; needs requirements-sentry.txt.
SENTRY_DSN = env.matching(
    "SENTRY_DSN",
    r"https?://\S+@[^\s/]+/\S+",
    like="https://key@sentry.example.org/1",
    secret=True,
)

# ---------------------------------------------------------------- logs
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"request_id": {"()": "fluxsite.logs.RequestIdFilter"}},
    "formatters": {
        "chosen": {
            "()": {"line": "fluxsite.logs.Line", "json": "fluxsite.logs.Json"}[
                env.choice("LOG_FORMAT", "line", among=("line", "json"))
            ]
        }
    },
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "filters": ["request_id"],
            "formatter": "chosen",
        }
    },
    "root": {
        "handlers": ["stderr"],
        "level": env.choice(
            "LOG_LEVEL", "info", among=("debug", "info", "warning", "error", "critical")
        ).upper(),
    },
    "loggers": {
        "django-q": {"level": "WARNING"},
        # Talks of keys that sign and of signatures; what went wrong is in our own errors.
        "qcloud_cos": {"level": "CRITICAL", "propagate": False},
    },
}
