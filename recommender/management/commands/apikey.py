"""Create, list and revoke API keys."""

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import CommandError
from django.db import transaction
from django.utils import timezone

from ingestion.management.base import GuidedCommand, require_migrations
from recommender.api.authentication import allow_personal_data, issue_key, revoke_key
from recommender.models import ApiKey

HELP = """Create an API key, which is shown once and stored only as a hash; list and revoke keys.

A key may see what its user may see.

examples:
  python manage.py apikey 'iOS app' --user ios --create-user
  python manage.py apikey reports --user ada --personal-data --days 90
  python manage.py apikey --list
  python manage.py apikey --revoke 35ff6d9d

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
            help="let the user, with all their keys, see listeners' names, e-mail addresses and genders",
        )
        parser.add_argument("--days", type=int, help="number of days until the key expires (default: never)")
        parser.add_argument("--quiet", action="store_true", help="print the key alone, for scripts")
        parser.add_argument(
            "--list", action="store_true", help="print every key's prefix, state, user and name"
        )
        parser.add_argument("--revoke", metavar="PREFIX", help="revoke the key that starts with this prefix")

    def handle(self, *_: Any, **options: Any) -> None:
        require_migrations()
        if options["list"]:
            self._list()
        elif options["revoke"]:
            self._revoke(options["revoke"])
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
            if options["personal_data"]:
                allow_personal_data(user)
            expires_at = timezone.now() + timedelta(days=days) if days else None
            _, secret = issue_key(options["name"], user, expires_at=expires_at)
        self.stdout.write(secret if options["quiet"] else _new_key_text(options["name"], user, secret))

    def _list(self) -> None:
        keys = list(ApiKey.objects.select_related("user").order_by("pk"))
        if not keys:
            self.stdout.write("There are no keys. Create one: python manage.py apikey NAME --user USER")
        for key in keys:
            self.stdout.write(f"{key.prefix}  {_key_state(key):<20}  {key.user.get_username()}  {key.name}")

    def _revoke(self, prefix: str) -> None:
        keys = list(ApiKey.objects.filter(prefix__startswith=prefix[:8]))
        if len(keys) != 1:
            count = "No key starts" if not keys else f"{len(keys)} keys start"
            raise CommandError(f"{count} with {prefix[:8]!r}. List them: python manage.py apikey --list")
        is_new = revoke_key(keys[0], at=timezone.now())
        result = "is revoked: the API refuses it from now on" if is_new else "was already revoked"
        self.stdout.write(f"{keys[0]} {result}.")


def _find_or_create_user(name: str, *, create: bool) -> User:
    user = User.objects.filter(username=name).first()
    if user is None and not create:
        raise CommandError(
            f"There is no user {name!r}. Add --create-user to create one who can use the API only, "
            "or name another user."
        )
    # A user without a password cannot log in.
    user = user or User.objects.create_user(name)
    if not user.is_active:
        raise CommandError(f"User {name!r} is not active: the API would refuse the key.")
    return user


def _new_key_text(name: str, user: User, secret: str) -> str:
    verb = "may" if user.has_perm("ingestion.view_personal_data") else "may not"
    return (
        f"{secret}\n\n"
        f"This is the key of {name!r}. It is shown only once. It {verb} see listeners' personal data.\n"
        f"  curl -H 'Authorization: Bearer {secret}' http://127.0.0.1:8000/api/v1/songs/"
    )


def _key_state(key: ApiKey) -> str:
    if key.revoked_at:
        return f"revoked {key.revoked_at:%Y-%m-%d}"
    if key.expires_at:
        return f"{'expired' if key.expires_at <= timezone.now() else 'expires'} {key.expires_at:%Y-%m-%d}"
    return "active"
