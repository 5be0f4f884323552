"""The project as an app: its commands, its system checks."""

from typing import Final

from django.apps import AppConfig
from django.core import checks

from moovitamix.checks import check_alerts, check_exposure, check_names

SETTINGS: Final = "settings"


class MoovitaMixConfig(AppConfig):
    name = "moovitamix"
    verbose_name = "MoovitaMix"

    def ready(self) -> None:
        # Commands ask for these alone: the checks of routes and admins would load every page first.
        checks.register(check_exposure, checks.Tags.security, SETTINGS)
        checks.register(check_names, SETTINGS)
        checks.register(check_alerts, SETTINGS)
