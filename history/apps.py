from django.apps import AppConfig
from django.db.models.signals import post_migrate, pre_migrate
from django.utils.translation import gettext_lazy as _


class HistoryConfig(AppConfig):
    name = "history"
    verbose_name = _("History")

    def ready(self) -> None:
        from history import view  # wants the apps to be ready

        pre_migrate.connect(view.before_migrate, sender=self)
        post_migrate.connect(view.after_migrate, sender=self)
