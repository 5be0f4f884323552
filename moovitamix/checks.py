"""System checks: settings that are safe on one machine and wrong where others can reach it."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error

from moovitamix.environment import LOOPBACK_HOSTS


def check_exposure(app_configs: Any, **_: Any) -> list[CheckMessage]:
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
                hint="Set SECRET_KEY to 50 random characters: "
                "python3 -c 'import secrets; print(secrets.token_urlsafe(50))'",
                id="moovitamix.E003",
            )
        )
    return problems
