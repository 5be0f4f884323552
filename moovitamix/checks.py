"""System checks: settings that are safe on one machine and wrong where others can reach it."""

from typing import Any, Final

from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as Concern

from moovitamix.environment import LOOPBACK_HOSTS

SHORT_KEY: Final = 32  # characters; Django's own have 50
MAKE_KEY: Final = "python3 -c 'import secrets; print(secrets.token_urlsafe(50))'"


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
                hint=f"Set SECRET_KEY to 50 random characters: {MAKE_KEY}",
                id="moovitamix.E003",
            )
        )
    elif public and len(settings.SECRET_KEY) < SHORT_KEY:
        problems.append(
            Concern(
                f"SECRET_KEY has {len(settings.SECRET_KEY)} characters: it can be guessed, and with it "
                "anybody's session forged.",
                hint=f"Set SECRET_KEY to 50 random characters: {MAKE_KEY}",
                id="moovitamix.W001",
            )
        )
    return problems


def check_names(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """A warning for each variable that looks like a misspelt setting, which would be passed over."""
    return [
        Concern(
            f"{name} is no setting, and is not read.",
            hint=f"Did you mean {meant}? .env.example has all of them.",
            id="moovitamix.W002",
        )
        for name, meant in settings.MISSPELT.items()
    ]
