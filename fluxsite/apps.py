from django.apps import AppConfig
from django.core import checks


class FluxsiteConfig(AppConfig):
    name = "fluxsite"
    verbose_name = "Fluxsite"

    def ready(self) -> None:
        from fluxsite.checks import TAG, check_storage

        checks.register(check_storage, TAG)
