"""App configuration of the project: its management commands and system checks."""

from typing import Final

from django.apps import AppConfig, apps
from django.core import checks
from django.utils.translation import gettext_lazy

from moovitamix.checks import (
    check_alert_channels,
    check_cache_database,
    check_dotenv,
    check_misspelled_settings,
    check_model_storage,
    check_model_storage_access,
    check_original_database,
    check_public_exposure,
)
from moovitamix.languages import translate_model_labels

SETTINGS_TAG: Final = "settings"


class MoovitaMixConfig(AppConfig):
    name = "moovitamix"
    verbose_name = "MoovitaMix"

    def ready(self) -> None:
        # Its own name is "Otp_Totp".
        apps.get_app_config("otp_totp").verbose_name = gettext_lazy("Two-factor logins")
        translate_model_labels()
        # Commands run only the checks with this tag: those of routes and admins would load every page.
        checks.register(check_public_exposure, checks.Tags.security, SETTINGS_TAG)
        checks.register(check_misspelled_settings, SETTINGS_TAG)
        checks.register(check_dotenv, checks.Tags.security, SETTINGS_TAG)
        checks.register(check_alert_channels, SETTINGS_TAG)
        checks.register(check_original_database, SETTINGS_TAG)
        checks.register(check_cache_database, SETTINGS_TAG)
        checks.register(check_model_storage, SETTINGS_TAG)
        # Only with --deploy: it needs the network.
        checks.register(check_model_storage_access, SETTINGS_TAG, deploy=True)
