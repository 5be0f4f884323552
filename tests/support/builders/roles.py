"""The roles that a migration creates; tests with real transactions delete them from their database."""

from importlib import import_module

from django.apps import apps
from django.contrib.auth.models import Group

_roles = import_module("recommender.migrations.0018_roles")
_webhooks = import_module("ingestion.migrations.0017_webhooks")
_silence = import_module("ingestion.migrations.0021_alert_channels_and_maintenance_windows")
_two_factor = import_module("recommender.migrations.0022_owners_remove_authenticator_apps")


def find_role(name: str) -> Group:
    """The group `viewer`, `operator` or `owner`."""
    if not Group.objects.filter(name=name).exists():
        _roles.make_roles(apps, None)
        _two_factor.allow_owners(apps, None)
        _webhooks.allow_owners(apps, None)
        _silence.allow_roles(apps, None)
    return Group.objects.get(name=name)
