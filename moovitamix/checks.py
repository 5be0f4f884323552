"""System checks of the settings: alert channels, security of a public site, misspelt variables."""

import os
import re
from collections.abc import Sequence
from email.utils import parseaddr
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import ERROR, CheckMessage, Error
from django.core.checks import Warning as CheckWarning
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.validators import validate_email

from ingestion.alerts.channels import is_apprise_url
from moovitamix.environment import LOOPBACK_HOSTS, next_redis_database
from recommender.engine.artifact import ArtifactUnavailable
from recommender.registry import shared_storage


def check_alert_channels(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """A warning for each alert channel that can't work.

    An address may be a secret, so a warning gives only its position. These are not errors, because ingestion
    must start even without alerts.
    """
    emails, slack, others = settings.ALERT_EMAILS, settings.SLACK_WEBHOOK_URL, settings.ALERT_URLS
    problems = []
    if wrong := _wrong_positions(emails, [_is_email(address) for address in emails]):
        problems.append(_warning(3, f"{wrong} in ALERT_EMAILS is not an e-mail address.", "ada@example.org"))
    if slack and not _may_be_slack(slack):
        expected = "https://hooks.slack.com/services/T.../B.../..."
        problems.append(_warning(4, "SLACK_WEBHOOK_URL is not a Slack webhook.", expected))
    if wrong := _wrong_positions(others, [is_apprise_url(address) for address in others]):
        expected = "tgram://token/chat; a comma inside an address is %2C"
        problems.append(_warning(5, f"{wrong} in ALERT_URLS is not a URL that Apprise supports.", expected))
    if emails and settings.EMAIL_BACKEND.endswith("console.EmailBackend"):
        message = "ALERT_EMAILS is set, but mails are only printed: EMAIL_URL names no mail server."
        problems.append(_warning(6, message, "EMAIL_URL=smtp+tls://user:password@host:587"))
    return problems


def _warning(number: int, message: str, expected: str) -> CheckMessage:
    hint = f"Expected: {expected}. Then check that alerts arrive: python manage.py testalert"
    return CheckWarning(message, hint=hint, id=f"moovitamix.W{number:03}")


def _wrong_positions(addresses: Sequence[str], right: Sequence[bool]) -> str:
    wrong = [str(position) for position, is_right in enumerate(right, 1) if not is_right]
    return f"Address {' and '.join(wrong)} of {len(addresses)}" if wrong else ""


def _is_email(address: str) -> bool:
    try:
        validate_email(parseaddr(address)[1])
    except ValidationError:
        return False
    return True


def _may_be_slack(url: str) -> bool:
    parts = urlsplit(url)
    if parts.hostname != "hooks.slack.com":
        return True
    known = r"/services/T\w+/B\w+/\w+|/(workflows|triggers)/\S+"
    return parts.scheme == "https" and re.fullmatch(known, parts.path) is not None


OTHERS: Final = 0o077  # rights of the group and of all others
REDIS_DATABASES: Final = 16  # of a Redis whose configuration does not say otherwise
MIN_SECRET_KEY_LENGTH: Final = 32  # characters; keys that Django generates have 50
MAKE_KEY_COMMAND: Final = "python3 -c 'import secrets; print(secrets.token_urlsafe(50))'"


def check_public_exposure(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """Errors and warnings for a site that other machines can reach."""
    problems: list[CheckMessage] = []
    if not settings.ALLOWED_HOSTS:
        problems.append(
            Error(
                "ALLOWED_HOSTS is empty: every request would be refused.",
                hint="Set ALLOWED_HOSTS to the site's host names, such as music.example.org.",
                id="moovitamix.E001",
            )
        )
    public = [host for host in settings.ALLOWED_HOSTS if host not in LOOPBACK_HOSTS]
    if public and settings.DEBUG:
        problems.append(
            Error(
                f"DEBUG is on and the site answers to {', '.join(public)}: error pages would show settings "
                "and code.",
                hint="Set DEBUG=false, or remove the public names from ALLOWED_HOSTS.",
                id="moovitamix.E002",
            )
        )
    if public and not (settings.HTTPS or settings.ALLOW_HTTP):
        problems.append(
            Error(
                f"The site answers to {', '.join(public)} without HTTPS: whoever is on the way can read "
                "passwords and keys.",
                hint="Put a proxy with TLS in front and set HTTPS=true. In a network of trusted machines: "
                "ALLOW_HTTP=true.",
                id="moovitamix.E004",
            )
        )
    if public and settings.SECRET_KEY == settings.INSECURE_KEY:
        problems.append(
            Error(
                f"SECRET_KEY is the default, which is public, and the site answers to {', '.join(public)}.",
                hint=f"Set SECRET_KEY to 50 random characters: {MAKE_KEY_COMMAND}",
                id="moovitamix.E003",
            )
        )
    elif public and len(settings.SECRET_KEY) < MIN_SECRET_KEY_LENGTH:
        problems.append(
            CheckWarning(
                f"SECRET_KEY has only {len(settings.SECRET_KEY)} characters: who guesses it can forge "
                "the session of any user.",
                hint=f"Set SECRET_KEY to 50 random characters: {MAKE_KEY_COMMAND}",
                id="moovitamix.W001",
            )
        )
    return problems


def require_safe_settings() -> None:
    """Check the settings of a process that runs no system checks: web servers and Celery.

    Raises:
        ImproperlyConfigured: the settings are unsafe; names each problem and what to set.
    """
    errors = [problem for problem in check_public_exposure(None) if problem.level >= ERROR]
    if errors:
        raise ImproperlyConfigured("\n".join(f"{error.msg} {error.hint}" for error in errors))


def check_misspelled_settings(app_configs: Any, **_: Any) -> list[CheckMessage]:
    return [
        CheckWarning(
            f"{name} is not a setting and is ignored.",
            hint=f"Did you mean {meant}? .env.example lists all settings.",
            id="moovitamix.W002",
        )
        for name, meant in settings.MISSPELT.items()
    ]


def check_dotenv(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """A warning if other users of the machine can read the file with the passwords."""
    file = settings.DOTENV
    if file is None or os.name == "nt" or not file.is_file() or not file.stat().st_mode & OTHERS:
        return []
    return [
        CheckWarning(
            f"{file} holds secrets, and other users of this machine can read it.",
            hint=f"chmod 600 {file}",
            id="moovitamix.W008",
        )
    ]


def check_cache_database(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """A warning if the default of `CACHE_URL` is a database that Redis by default does not have."""
    number = urlsplit(next_redis_database(settings.REDIS_URL)).path.strip("/")
    is_chosen = bool(os.environ.get("CACHE_URL"))
    if is_chosen or not number.isdecimal() or int(number) < REDIS_DATABASES:
        return []
    return [
        CheckWarning(
            f"CACHE_URL is by default database {number}, and Redis has only {REDIS_DATABASES} unless its "
            "configuration says otherwise: each process would keep a cache of its own.",
            hint="Set CACHE_URL to another database of that Redis, or to the value of REDIS_URL.",
            id="moovitamix.W009",
        )
    ]


def check_model_storage(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """A warning if `MODEL_STORAGE` is on S3 without the packages for it: imports go on without models."""
    try:
        shared_storage.shared_storage()
    except ArtifactUnavailable as error:
        return [
            CheckWarning(
                f"MODEL_STORAGE is on S3, which can't be used: {error}",
                hint="Install the extra: pip install '.[s3]', or requirements-s3.lock. Or set MODEL_STORAGE "
                "to a folder.",
                id="moovitamix.W010",
            )
        ]
    return []


def check_model_storage_access(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """An error if this machine can't write models to S3; reads and writes there."""
    if check_model_storage(None):
        return []  # reported by that check
    try:
        shared_storage.require_writable()
    except ArtifactUnavailable as error:
        return [
            Error(
                f"Models can't be written: {error}",
                hint="Check the bucket in MODEL_STORAGE, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, "
                "AWS_DEFAULT_REGION, and AWS_ENDPOINT_URL for a server that is not Amazon's. Rights: list "
                "the bucket; get, put and delete objects.",
                id="moovitamix.E005",
            )
        ]
    return []


def check_original_database(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """A warning if `DATABASE_NAME` is the original project's database: MoovitaMix uses a file beside it."""
    if settings.ORIGINAL_DATABASE is None:
        return []
    new = settings.DATABASES["default"]["NAME"]
    return [
        CheckWarning(
            f"{settings.ORIGINAL_DATABASE} is a database of the original project and stays as it is. "
            f"The data is kept in {new}.",
            hint=f"Set DATABASE_NAME={new}. To begin with the old data, import it with importlegacy before "
            "the first run.",
            id="moovitamix.W007",
        )
    ]
