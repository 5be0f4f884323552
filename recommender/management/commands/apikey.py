"""Make, list and revoke keys to the API."""

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils import timezone

from ingestion.management.base import require_migrations
from recommender.api.authentication import allow_personal_data, issue_key, revoke_key
from recommender.models import ApiKey


class Command(BaseCommand):
    help = (
        "Make a key to the API, which is shown once and stored nowhere; --list shows what keys there are, "
        "--revoke ends one. A key may see what its user may see."
    )
    requires_system_checks = ("settings",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", nargs="?", help="who will use it, such as 'iOS app'")
        parser.add_argument("--user", help="the user whose rights it has")
        parser.add_argument(
            "--create-user",
            action="store_true",
            help="make that user, who can use the API and log in nowhere",
        )
        parser.add_argument(
            "--personal-data",
            action="store_true",
            help="let the user, and so all their keys, see listeners' names, addresses and genders",
        )
        parser.add_argument("--days", type=int, help="end it after so many days (default: never)")
        parser.add_argument("--quiet", action="store_true", help="print the key alone, for scripts")
        parser.add_argument("--list", action="store_true", help="show every key's prefix, user and state")
        parser.add_argument("--revoke", metavar="PREFIX", help="end the key that begins so")

    def handle(self, *_: Any, **options: Any) -> None:
        require_migrations()
        if options["list"]:
            self._list()
        elif options["revoke"]:
            self._revoke(options["revoke"])
        else:
            self._make(options)

    def _make(self, options: dict[str, Any]) -> None:
        if not options["name"] or not options["user"]:
            raise CommandError("Name the key and its user: python manage.py apikey 'iOS app' --user USER")
        if len(options["name"]) > 100:
            raise CommandError("A key's name may have 100 characters.")
        days = options["days"]
        if days is not None and not 1 <= days <= 36_500:
            raise CommandError("--days takes a whole number from 1 to 36500.")
        with transaction.atomic():
            user = _find_or_create_user(options["user"], create=options["create_user"])
            if options["personal_data"]:
                allow_personal_data(user)
            ends = timezone.now() + timedelta(days=days) if days else None
            _, secret = issue_key(options["name"], user, expires_at=ends)
        self.stdout.write(secret if options["quiet"] else _new_key_text(options["name"], user, secret))

    def _list(self) -> None:
        keys = list(ApiKey.objects.select_related("user").order_by("pk"))
        if not keys:
            self.stdout.write("There are no keys. Make one: python manage.py apikey NAME --user USER")
        for key in keys:
            self.stdout.write(f"{key.prefix}  {_key_state(key):<20}  {key.user.get_username()}  {key.name}")

    def _revoke(self, prefix: str) -> None:
        keys = list(ApiKey.objects.filter(prefix__startswith=prefix[:8]))
        if len(keys) != 1:
            found = "No key begins" if not keys else f"{len(keys)} keys begin"
            raise CommandError(f"{found} with {prefix[:8]!r}. See: python manage.py apikey --list")
        was = revoke_key(keys[0], at=timezone.now())
        now = "is revoked: requests with it are refused from now on" if was else "was revoked before"
        self.stdout.write(f"{keys[0]} {now}.")


def _find_or_create_user(name: str, *, create: bool) -> User:
    user = User.objects.filter(username=name).first()
    if user is None and not create:
        raise CommandError(
            f"There is no user {name!r}. Add --create-user to make one who can use the API and nothing else, "
            "or name another one."
        )
    # Without a password nobody can log in as this user.
    user = user or User.objects.create_user(name)
    if not user.is_active:
        raise CommandError(f"User {name!r} is not active, so that no key of theirs would be accepted.")
    return user


def _new_key_text(name: str, user: User, secret: str) -> str:
    sees = "may" if user.has_perm("ingestion.view_personal_data") else "may not"
    return (
        f"{secret}\n\n"
        f"This is the key of {name!r}. It is shown only this once. It {sees} see listeners' personal data.\n"
        f"  curl -H 'Authorization: Bearer {secret}' http://127.0.0.1:8000/api/v1/songs/"
    )


def _key_state(key: ApiKey) -> str:
    if key.revoked_at:
        return f"revoked {key.revoked_at:%Y-%m-%d}"
    if key.expires_at:
        return f"{'ended' if key.expires_at <= timezone.now() else 'ends'} {key.expires_at:%Y-%m-%d}"
    return "in force"
