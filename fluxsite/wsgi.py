import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fluxsite.settings")
django_application = get_wsgi_application()

# With the settings there, and not before.
from generation.openai_api import chunked  # noqa: E402

application = chunked.understood(django_application, below="/v1/")
