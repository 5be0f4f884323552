"""System checks: an early word where nobody could be told when something goes wrong."""

import re
from collections.abc import Sequence
from email.utils import parseaddr
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as Concern
from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from ingestion.alerts.channels import is_apprise_url
from moovitamix.environment import LOOPBACK_HOSTS


def check_alert_channels(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """A warning for each channel that can't work; of an address, which may be a secret, its place alone.

    No error: a run must not be kept from starting because nobody would hear of it.
    """
    emails, slack, others = settings.ALERT_EMAILS, settings.SLACK_WEBHOOK_URL, settings.ALERT_URLS
    problems = []
    if wrong := _wrong_positions(emails, [_is_email(address) for address in emails]):
        problems.append(_warning(3, f"{wrong} in ALERT_EMAILS is no e-mail address.", "ada@example.org"))
    if slack and not _may_be_slack(slack):
        expected = "https://hooks.slack.com/services/T.../B.../..."
        problems.append(_warning(4, "SLACK_WEBHOOK_URL is no webhook of Slack.", expected))
    if wrong := _wrong_positions(others, [is_apprise_url(address) for address in others]):
        expected = "tgram://token/chat; a comma inside an address is %2C"
        problems.append(_warning(5, f"{wrong} in ALERT_URLS is nothing that Apprise can read.", expected))
    if emails and settings.EMAIL_BACKEND.endswith("console.EmailBackend"):
        says = "ALERT_EMAILS is set, but mails are printed: EMAIL_URL names no mail server."
        problems.append(_warning(6, says, "EMAIL_URL=smtp+tls://user:password@host:587"))
    return problems


def _warning(number: int, says: str, expected: str) -> CheckMessage:
    hint = f"Expected: {expected}. Then look whether messages arrive: python manage.py testalert"
    return Concern(says, hint=hint, id=f"moovitamix.W{number:03}")


def _wrong_positions(addresses: Sequence[str], right: Sequence[bool]) -> str:
    """Which of them are wrong, such as "Address 2 of 3"; empty where none is."""
    wrong = [str(place) for place, is_right in enumerate(right, 1) if not is_right]
    return f"Address {' and '.join(wrong)} of {len(addresses)}" if wrong else ""


def _is_email(address: str) -> bool:
    try:
        validate_email(parseaddr(address)[1])
    except ValidationError:
        return False
    return True


def _may_be_slack(url: str) -> bool:
    """Others speak Slack's language at addresses of their own; Slack's own have a shape."""
    parts = urlsplit(url)
    if parts.hostname != "hooks.slack.com":
        return True
    known = r"/services/T\w+/B\w+/\w+|/(workflows|triggers)/\S+"
    return parts.scheme == "https" and re.fullmatch(known, parts.path) is not None


MIN_SECRET_KEY_LENGTH: Final = 32  # characters; Django's own have 50
MAKE_KEY_COMMAND: Final = "python3 -c 'import secrets; print(secrets.token_urlsafe(50))'"


def check_public_exposure(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """An error for each mistake that only matters once other machines reach the site."""
    problems: list[CheckMessage] = []
    if not settings.ALLOWED_HOSTS:
        problems.append(
            Error(
                "ALLOWED_HOSTS is empty: every request would be refused.",
                hint="Set ALLOWED_HOSTS to the names this site is reached by, such as music.example.org.",
                id="moovitamix.E001",
            )
        )
    public = [host for host in settings.ALLOWED_HOSTS if host not in LOOPBACK_HOSTS]
    if public and settings.DEBUG:
        problems.append(
            Error(
                f"DEBUG is on while the site answers to {', '.join(public)}: errors would show its inside.",
                hint="Set DEBUG=false, or take the public names out of ALLOWED_HOSTS.",
                id="moovitamix.E002",
            )
        )
    if public and settings.SECRET_KEY == settings.INSECURE_KEY:
        problems.append(
            Error(
                f"SECRET_KEY is the default one, which everybody knows, while the site answers to "
                f"{', '.join(public)}.",
                hint=f"Set SECRET_KEY to 50 random characters: {MAKE_KEY_COMMAND}",
                id="moovitamix.E003",
            )
        )
    elif public and len(settings.SECRET_KEY) < MIN_SECRET_KEY_LENGTH:
        problems.append(
            Concern(
                f"SECRET_KEY has {len(settings.SECRET_KEY)} characters: it can be guessed, and with it "
                "anybody's session forged.",
                hint=f"Set SECRET_KEY to 50 random characters: {MAKE_KEY_COMMAND}",
                id="moovitamix.W001",
            )
        )
    return problems


def check_misspelled_settings(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """A warning for each variable that looks like a misspelt setting, which would be passed over."""
    return [
        Concern(
            f"{name} is no setting, and is not read.",
            hint=f"Did you mean {meant}? .env.example has all of them.",
            id="moovitamix.W002",
        )
        for name, meant in settings.MISSPELT.items()
    ]
