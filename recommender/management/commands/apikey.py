"""Create, list and revoke API keys."""

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.management.base import CommandError
from django.db import transaction
from django.utils import timezone

from ingestion.audit import command_actor
from ingestion.management.base import GuidedCommand, require_migrations
from recommender.api.authentication import allow_personal_data, issue_key, revoke_key, rotate_key
from recommender.models import ApiKey
from recommender.models.api_keys import Scope, default_scopes
from recommender.services import undo_key_feedback

HELP = """Create an API key, which is shown once and stored only as a hash; list and revoke keys.

A key may do what its scopes say, with the permissions of its user.

examples:
  python manage.py apikey 'iOS app' --user ios --create-user
  python manage.py apikey prometheus --user ios --scopes metrics
  python manage.py apikey reports --user ada --personal-data --days 90
  python manage.py apikey --list
  python manage.py apikey --rotate 35ff6d9d            a new key; the old one is valid for another week
  python manage.py apikey --revoke 35ff6d9d --undo-feedback

next:
  curl -H 'Authorization: Bearer KEY' http://127.0.0.1:8000/api/v1/songs/
"""


class Command(GuidedCommand):
    help = HELP
    requires_system_checks = ("settings",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", nargs="?", help="who will use it, such as 'iOS app'")
        parser.add_argument("--user", help="the user whose permissions the key has")
        parser.add_argument(
            "--create-user",
            action="store_true",
            help="create the user, who can use the API and cannot log in",
        )
        parser.add_argument(
            "--personal-data",
            action="store_true",
            help="let the user and this key see listeners' names, e-mail addresses and genders",
        )
        names = ", ".join(Scope.values)
        parser.add_argument(
            "--scopes", help=f"what the key may do: some of {names} (default: {', '.join(default_scopes())})"
        )
        parser.add_argument("--days", type=int, help="number of days until the key expires (default: never)")
        parser.add_argument("--quiet", action="store_true", help="print the key alone, for scripts")
        parser.add_argument(
            "--list", action="store_true", help="print every key's prefix, state, user and name"
        )
        parser.add_argument("--revoke", metavar="PREFIX", help="revoke the key that starts with this prefix")
        parser.add_argument(
            "--undo-feedback",
            action="store_true",
            help="with --revoke: also take back all feedback that was sent with the key",
        )
        parser.add_argument(
            "--rotate", metavar="PREFIX", help="make a new key like the one that starts with this prefix"
        )
        parser.add_argument(
            "--overlap-days",
            type=int,
            default=7,
            help="with --rotate: days for which the old key stays valid (default: 7)",
        )

    def handle(self, *_: Any, **options: Any) -> None:
        require_migrations()
        if options["list"]:
            self._list()
        elif options["revoke"]:
            self._revoke(options["revoke"], undo_feedback=options["undo_feedback"])
        elif options["rotate"]:
            self._rotate(options["rotate"], options["overlap_days"], quiet=options["quiet"])
        else:
            self._create(options)

    def _create(self, options: dict[str, Any]) -> None:
        if not options["name"] or not options["user"]:
            raise CommandError("Name the key and its user: python manage.py apikey 'iOS app' --user USER")
        if len(options["name"]) > 100:
            raise CommandError("A key's name may have at most 100 characters.")
        days = options["days"]
        if days is not None and not 1 <= days <= 36_500:
            raise CommandError("--days takes a whole number from 1 to 36500.")
        with transaction.atomic():
            user = _find_or_create_user(options["user"], create=options["create_user"])
            scopes = _parse_scopes(options["scopes"])
            if options["personal_data"]:
                allow_personal_data(user)
                scopes = [*scopes, Scope.PERSONAL_DATA.value]
            expires_at = timezone.now() + timedelta(days=days) if days else None
            key, secret = issue_key(
                options["name"], user, expires_at=expires_at, scopes=sorted(set(scopes)), by=command_actor()
            )
        self.stdout.write(secret if options["quiet"] else _new_key_text(key, secret))

    def _list(self) -> None:
        keys = list(ApiKey.objects.select_related("user").order_by("pk"))
        if not keys:
            self.stdout.write("There are no keys. Create one: python manage.py apikey NAME --user USER")
        for key in keys:
            used = f"used {key.last_used_at:%Y-%m-%d}" if key.last_used_at else "never used"
            self.stdout.write(
                f"{key.prefix}  {_key_state(key):<20}  {used:<15}  {key.user.get_username()}  "
                f"{key.name}  [{', '.join(key.scopes)}]"
            )

    def _revoke(self, prefix: str, *, undo_feedback: bool) -> None:
        key = _find_key(prefix)
        is_new = revoke_key(key, at=timezone.now(), by=command_actor())
        result = "is revoked: the API refuses it from now on" if is_new else "was already revoked"
        self.stdout.write(f"{key} {result}.")
        if undo_feedback:
            count = undo_key_feedback(key, by=command_actor(), now=timezone.now())
            self.stdout.write(f"{count} events of feedback that it sent no longer count.")

    def _rotate(self, prefix: str, days: int, *, quiet: bool) -> None:
        if not 0 <= days <= 365:
            raise CommandError("--overlap-days takes a whole number from 0 to 365.")
        old = _find_key(prefix)
        if old.revoked_at is not None:
            raise CommandError(f"{old} is revoked. Make a new key instead.")
        key, secret = rotate_key(old, until=timezone.now() + timedelta(days=days), by=command_actor())
        self.stdout.write(secret if quiet else _new_key_text(key, secret))
        if not quiet:
            self.stdout.write(f"The old key {old} is valid for another {days} days.")


def _find_key(prefix: str) -> ApiKey:
    keys = list(ApiKey.objects.select_related("user").filter(prefix__startswith=prefix[:8]))
    if len(keys) != 1:
        count = "No key starts" if not keys else f"{len(keys)} keys start"
        raise CommandError(f"{count} with {prefix[:8]!r}. List them: python manage.py apikey --list")
    return keys[0]


def _parse_scopes(text: str | None) -> list[str]:
    scopes = default_scopes() if text is None else [one.strip() for one in text.split(",") if one.strip()]
    if unknown := sorted(set(scopes) - set(Scope.values)):
        raise CommandError(f"There is no scope {', '.join(unknown)}. Choose from {', '.join(Scope.values)}.")
    return scopes


def _find_or_create_user(name: str, *, create: bool) -> User:
    user = User.objects.filter(username=name).first()
    if user is None and not create:
        raise CommandError(
            f"There is no user {name!r}. Add --create-user to create one who can use the API only, "
            "or name another user."
        )
    # A user without a password cannot log in.
    user = user or _create_user(name)
    if not user.is_active:
        raise CommandError(f"User {name!r} is not active: the API would refuse the key.")
    return user


def _create_user(name: str) -> User:
    try:
        User._meta.get_field("username").clean(name, None)
    except ValidationError as error:
        raise CommandError(f"--user can't be created: {' '.join(error.messages)}") from None
    return User.objects.create_user(name)


def _new_key_text(key: ApiKey, secret: str) -> str:
    is_allowed = Scope.PERSONAL_DATA in key.scopes and key.user.has_perm("ingestion.view_personal_data")
    verb = "may" if is_allowed else "may not"
    return (
        f"{secret}\n\n"
        f"This is the key of {key.name!r}. It is shown only once. It {verb} see listeners' personal data.\n"
        f"Its scopes: {', '.join(key.scopes)}.\n"
        f"  curl -H 'Authorization: Bearer {secret}' http://127.0.0.1:8000/api/v1/songs/"
    )


def _key_state(key: ApiKey) -> str:
    if key.revoked_at:
        return f"revoked {key.revoked_at:%Y-%m-%d}"
    if key.expires_at:
        return f"{'expired' if key.expires_at <= timezone.now() else 'expires'} {key.expires_at:%Y-%m-%d}"
    return "active"
