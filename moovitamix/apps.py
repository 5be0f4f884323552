"""The project as an app: its commands, its system checks."""

from django.apps import AppConfig
from django.core import checks

from moovitamix.alert_checks import check_alerts
from moovitamix.checks import check_exposure, check_names


class MoovitaMixConfig(AppConfig):
    name = "moovitamix"
    verbose_name = "MoovitaMix"

    def ready(self) -> None:
        checks.register(check_exposure, checks.Tags.security)
        checks.register(check_names)
        checks.register(check_alerts)
