"""System checks: an early word where nobody could be told when something goes wrong."""

import re
from collections.abc import Sequence
from email.utils import parseaddr
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage
from django.core.checks import Warning as Concern
from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from ingestion.channels import is_readable


def check_alerts(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """A warning for each channel that can't work; of an address, which may be a secret, its place alone.

    No error: a run must not be kept from starting because nobody would hear of it.
    """
    emails, slack, others = settings.ALERT_EMAILS, settings.SLACK_WEBHOOK_URL, settings.ALERT_URLS
    problems = []
    if wrong := _places(emails, [_is_email(address) for address in emails]):
        problems.append(_concern(3, f"{wrong} in ALERT_EMAILS is no e-mail address.", "ada@example.org"))
    if slack and not _may_be_slack(slack):
        expected = "https://hooks.slack.com/services/T.../B.../..."
        problems.append(_concern(4, "SLACK_WEBHOOK_URL is no webhook of Slack.", expected))
    if wrong := _places(others, [is_readable(address) for address in others]):
        expected = "tgram://token/chat; a comma inside an address is %2C"
        problems.append(_concern(5, f"{wrong} in ALERT_URLS is nothing that Apprise can read.", expected))
    if emails and settings.EMAIL_BACKEND.endswith("console.EmailBackend"):
        says = "ALERT_EMAILS is set, but mails are printed: EMAIL_URL names no mail server."
        problems.append(_concern(6, says, "EMAIL_URL=smtp+tls://user:password@host:587"))
    return problems


def _concern(number: int, says: str, expected: str) -> CheckMessage:
    hint = f"Expected: {expected}. Then look whether messages arrive: python manage.py testalert"
    return Concern(says, hint=hint, id=f"moovitamix.W{number:03}")


def _places(addresses: Sequence[str], right: Sequence[bool]) -> str:
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
