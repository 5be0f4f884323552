"""Authentication of API requests: keys for apps, the admin's session for staff."""

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final

from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.db import DatabaseError, transaction
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from ingestion.audit import Action, record_audit
from ingestion.jobs.database_patience import is_unwritable
from recommender.api import tokens
from recommender.api.throttling import FailedAuthentications, parse_rate
from recommender.api.tokens import ListenerToken
from recommender.models import ApiKey
from recommender.models.api_keys import default_scopes

# 256 random bits can't be guessed, so a plain SHA-256 without salt is enough.
KEY_BYTES: Final = 32
PREFIX_LENGTH: Final = 8
SCHEMES: Final = ("bearer", "token")
USE_RESOLUTION: Final = timedelta(minutes=1)
MAX_KNOWN_DIGESTS: Final = 10_000
NEW_KEY_HINT: Final = "Make another one: python manage.py apikey NAME --user USER"


class KeyAuthentication(BaseAuthentication):
    """Authenticates `Authorization: Bearer KEY` (or `Token KEY`) with one query."""

    def authenticate(self, request: Request) -> tuple[User, ApiKey | ListenerToken] | None:
        scheme, _, sent = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() not in SCHEMES:
            return None
        sent = sent.strip()
        digest = digest_key(sent)
        # Known keys are not limited because of other clients with the same address.
        failures = FailedAuthentications(request)
        if digest not in _KNOWN_DIGESTS:
            failures.require_few()
        key, listener_id, refusal = _find_key(sent, digest, timezone.now())
        if key is None or refusal:
            _KNOWN_DIGESTS.discard(digest)
            failures.count()
            raise AuthenticationFailed(refusal)
        _remember(digest)
        note_use(key, timezone.now())
        return key.user, key if listener_id is None else ListenerToken(key, listener_id)

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="MoovitaMix API"'


class StaffSession(SessionAuthentication):
    def authenticate(self, request: Request) -> tuple[User, None] | None:
        found: tuple[User, None] | None = super().authenticate(request)
        return found if found is not None and found[0].is_staff else None


class KeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = KeyAuthentication
    name = "key"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "A key from `python manage.py apikey NAME --user USER`, or from the admin.",
        }


def issue_key(
    name: str,
    user: User,
    *,
    expires_at: datetime | None = None,
    scopes: Sequence[str] | None = None,
    by: str = "",
) -> tuple[ApiKey, str]:
    """Create an API key; also returns the key itself, which is not stored.

    Args:
        scopes: by default lists and feedback, without personal data and metrics.
        by: who made it, for the audit trail.
    """
    secret = secrets.token_hex(KEY_BYTES)
    row = ApiKey.objects.create(
        name=name, user=user, prefix=secret[:PREFIX_LENGTH], digest=digest_key(secret), expires_at=expires_at,
        scopes=default_scopes() if scopes is None else list(scopes),
    )  # fmt: skip
    record_audit(Action.KEY_MADE, by or user.get_username(), f"{row} for {user}: {', '.join(row.scopes)}")
    return row, secret


def rotate_key(key: ApiKey, *, until: datetime, by: str) -> tuple[ApiKey, str]:
    """Create a key with the same name, user and scopes; the old key stays valid until `until` at most."""
    with transaction.atomic():
        made = issue_key(key.name, key.user, scopes=key.scopes, by=by)
        ends_at = min(key.expires_at, until) if key.expires_at else until
        ApiKey.objects.filter(pk=key.pk).update(expires_at=ends_at)
    return made


def revoke_key(key: ApiKey, *, at: datetime, by: str = "") -> bool:
    """Revoke the key; False if it was already revoked."""
    is_new = bool(ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=at))
    if is_new:
        record_audit(Action.KEY_REVOKED, by or key.user.get_username(), str(key))
    return is_new


def note_use(key: ApiKey, now: datetime) -> None:
    """Store when the key was last used, at most once a minute."""
    if key.last_used_at is not None and now - key.last_used_at < USE_RESOLUTION:
        return
    try:
        ApiKey.objects.filter(pk=key.pk).update(last_used_at=now)
    except DatabaseError as error:
        # Requests are answered even if the disk is full.
        if not is_unwritable(error):
            raise


def allow_personal_data(user: User) -> None:
    """Let all of the user's keys see names, e-mail addresses and genders."""
    user.user_permissions.add(
        Permission.objects.get(codename="view_personal_data", content_type__app_label="ingestion")
    )


def digest_key(secret: str) -> str:
    return sha256(secret.encode(errors="surrogateescape")).hexdigest()


def _find_key(sent: str, digest: str, now: datetime) -> tuple[ApiKey | None, int | None, str]:
    """The API key (sent, or named by the sent token), the token's listener, and the reason for a refusal."""
    if not sent.startswith(tokens.PREFIX):
        key = ApiKey.read_with_user("digest", digest)
        return key, None, _why_invalid(key, now)
    try:
        key_id, listener_id = tokens.read_token(sent)
    except tokens.InvalidToken as invalid:
        return None, None, str(invalid)
    key = ApiKey.read_with_user("id", key_id)
    return key, listener_id, _why_invalid(key, now)


def _why_invalid(key: ApiKey | None, now: datetime) -> str:
    if key is None:
        return f"There is no such key. {NEW_KEY_HINT}"
    if key.revoked_at:
        return f"The key {key.prefix}... was revoked on {key.revoked_at:%Y-%m-%d}. {NEW_KEY_HINT}"
    if key.expires_at and key.expires_at <= now:
        return f"The key {key.prefix}... expired on {key.expires_at:%Y-%m-%d}. {NEW_KEY_HINT}"
    if not key.user.is_active:
        return (
            f"The key {key.prefix}... belongs to a user who is not active. Activate the user in the admin, "
            "under People."
        )
    return ""


# Digests of keys that were valid in this process; they are still looked up with every request.
_KNOWN_DIGESTS: Final[set[str]] = set()


def _remember(digest: str) -> None:
    if len(_KNOWN_DIGESTS) >= MAX_KNOWN_DIGESTS:
        _KNOWN_DIGESTS.clear()
    _KNOWN_DIGESTS.add(digest)


# Parsed at import, so that a wrong setting stops the start and not the first request.
for _name in ("API_RATE", "API_FEEDBACK_RATE"):
    parse_rate(getattr(settings, _name), _name)
