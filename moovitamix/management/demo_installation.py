"""Fills the database of `demo`: tables, admin user, import, model, candidate lists, API key.

Usage: python -m moovitamix.management.demo_installation imported|weeks|simulated FOLDER PIPE [OPTION ...]

`weeks` simulates first, with these options of `simulate`; `simulated` completes weeks of an earlier start.

All steps run in one process: commands in processes of their own would each spend two seconds on importing
Django and the models. The process ends before the pages are served, which frees its memory. The password and
the key go to `demo` as JSON through the file descriptor PIPE, and into no file.
"""

import json
import os
import secrets
import sys
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any, Final

import django
from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.management import ManagementUtility, call_command

from moovitamix.management.processes import COMPLETION_MARKER

ADMIN_USERNAME: Final = "admin"


class FailedStepError(Exception):
    """A command failed, and has printed why."""


class DemoInstallation:
    """The steps, on the database and folders that the environment names.

    Attributes:
        results: for `demo` to print at the end: `password` and `key` if they are new, and a `listener` who
            has plays.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results: dict[str, Any] = {}

    def fill_from_source(self) -> None:
        _print(f"2/6  Creating the tables in {os.environ['DATABASE_NAME']}.")
        self._create_tables()
        self.create_admin()
        _print("3/6  Ingesting: reading every page, validating every row, checking that nothing is missing.")
        _run("runingest", may_fail=True)
        _print("4/6  Training: fit on all but the latest week, evaluate on that week, fit on everything.")
        _run("retrain", "--promote", may_fail=True)
        _print("5/6  Preparing a candidate list for each listener.")
        _run("preparelists", may_fail=True)
        self._create_key()
        self._choose_listener()

    def simulate_weeks(self, options: Sequence[str]) -> None:
        # It fails, too, if a reaction to an event was not right; its table says so.
        _run("simulate", *options, may_fail=True)
        if not (self.folder / COMPLETION_MARKER).exists():
            raise FailedStepError("simulate")
        self._complete()

    def complete_simulated(self) -> None:
        # The weeks may have been simulated by an earlier version.
        self._create_tables()
        self._complete()

    def _complete(self) -> None:
        self.create_admin()
        self._create_key()
        self._choose_listener()

    def create_admin(self) -> None:
        """Create the admin user, or give it a new password if nobody has seen the first one."""
        made = self.folder / "admin-made"
        if made.exists():
            return
        password = secrets.token_urlsafe(9)
        admin, _ = get_user_model()._default_manager.update_or_create(
            username=ADMIN_USERNAME,
            defaults={"email": "admin@example.org", "is_staff": True, "is_superuser": True},
        )
        admin.set_password(password)
        admin.save()
        _print(
            f"     Created the admin user {ADMIN_USERNAME} with the password {password}, "
            "which is stored nowhere."
        )
        # Last, so that a person who interrupted the demo before seeing the password gets a new one next time.
        made.touch()
        self.results["password"] = password

    def _create_tables(self) -> None:
        # Makes all system checks first, and stops where one fails.
        _run("migrate", "--verbosity=0")

    def _create_key(self) -> None:
        made = self.folder / "key-made"
        if made.exists():
            return
        printed = StringIO()
        call_command("apikey", "demo", user=ADMIN_USERNAME, quiet=True, stdout=printed)
        key = printed.getvalue().strip()
        _print(f"     The API key, shown only this once: {key}")
        made.touch()
        self.results["key"] = key

    def _choose_listener(self) -> None:
        sessions = apps.get_model("ingestion", "ListeningHistory")._default_manager
        self.results["listener"] = sessions.values_list("user_id", flat=True).first() or 1


def _run(*command: str, may_fail: bool = False) -> None:
    """Run a management command as at a terminal: with its checks, and its way to print errors.

    Raises:
        FailedStepError: it failed, and `may_fail` is false.
    """
    try:
        ManagementUtility(["manage.py", *command]).execute()
    except SystemExit as end:
        if end.code and not may_fail:
            raise FailedStepError(command[0]) from None


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    kind, folder, pipe, *options = arguments
    django.setup()
    installation = DemoInstallation(Path(folder))
    try:
        if kind == "imported":
            installation.fill_from_source()
        elif kind == "weeks":
            installation.simulate_weeks(options)
        else:
            installation.complete_simulated()
    except FailedStepError as failed:
        sys.stderr.write(f"`manage.py {failed}` failed; see its output above.\n")
        return 1
    with os.fdopen(int(pipe), "w") as results:
        json.dump(installation.results, results)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
