"""Django's error reports hide every setting that may hold a password, a token or an address with one."""

import pytest
from django.conf import settings

from moovitamix.reporting.error_reports import AddressHidingFilter

SECRET = [
    "REDIS_URL", "SLACK_WEBHOOK_URL", "ALERT_URLS", "HEALTHCHECKS_URL", "BASE_URL", "SOURCE_TOKEN",
    "SECRET_KEY",
    "EMAIL_HOST_PASSWORD", "EMAIL_HOST", "CELERY_BROKER_URL", "DATABASES",
]  # fmt: skip


@pytest.mark.parametrize("name", SECRET)
def test_a_setting_with_an_address_or_a_secret_is_hidden(name: str) -> None:
    filtered = AddressHidingFilter()

    assert filtered.cleanse_setting(name, "amqp://user:password@host") == filtered.cleansed_substitute


def test_no_shown_setting_contains_a_password(settings: pytest.FixtureRequest) -> None:
    settings.HEALTHCHECKS_URL = settings.REDIS_URL = "https://user:hunter2@example.org/x"  # type: ignore[attr-defined]
    settings.CACHES = {"default": {"LOCATION": "redis://:hunter2@host"}}  # type: ignore[attr-defined]

    assert "hunter2" not in str(AddressHidingFilter().get_safe_settings())


def test_the_filter_is_in_use() -> None:
    assert (
        settings.DEFAULT_EXCEPTION_REPORTER_FILTER == "moovitamix.reporting.error_reports.AddressHidingFilter"
    )
