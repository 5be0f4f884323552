"""The installations that tests run commands on."""

import sys
from dataclasses import replace

import pytest

from tests.support.project import Project

ASK = "from django.db import connection as c; print(c.vendor, c.settings_dict['NAME'])"
# What a process makes of its environment. Objects are named by their class alone.
ASK_ALL = """
import os, re, time
from django.conf import settings
from django.core.cache import caches
from django.db import connection
from django.utils import timezone, translation
from rest_framework.settings import api_settings
from moovitamix.celery import app
def show(name, value):
    value = sorted(value) if isinstance(value, (set, frozenset)) else value
    print(name, re.sub(r" at 0x[0-9a-f]+", "", repr(value)))
for name in sorted(dir(settings)):
    if name.isupper():
        show(name, getattr(settings, name))
for name in sorted(name for name in app.conf if name[0] != "_"):
    show(f"celery {name}", app.conf[name])
show("database", [connection.vendor, connection.settings_dict])
show("cache", [type(caches["default"]), getattr(caches["default"], "_servers", None)])
show("time", [timezone.get_default_timezone(), time.tzname, translation.gettext("Password")])
show("api", [api_settings.NUM_PROXIES, api_settings.DEFAULT_AUTHENTICATION_CLASSES])
show("umask", os.umask(0))
show("time zone", os.environ["TZ"])
"""


@pytest.mark.slow
def test_a_sqlite_project_is_migrated_and_stands_in_its_own_folder(sqlite_project: Project) -> None:
    asked = sqlite_project.shell(ASK)

    assert asked == f"sqlite {sqlite_project.folder}/music_data.db"
    assert sqlite_project.manage("migrate", "--check").returncode == 0


@pytest.mark.slow
def test_a_postgres_project_is_migrated_and_has_its_own_database(postgres_project: Project) -> None:
    asked = postgres_project.shell(ASK)

    assert asked.startswith("postgresql moovitamix_project_")
    assert postgres_project.manage("migrate", "--check").returncode == 0


def test_a_command_that_fails_fails_the_test_with_what_it_said(sqlite_project: Project) -> None:
    with pytest.raises(AssertionError, match="Unknown command: 'nothing'"):
        sqlite_project.manage("nothing")


def test_each_environment_of_an_installation_has_its_own_settings(sqlite_project: Project) -> None:
    ask = ("shell", "--no-imports", "-c", "from django.conf import settings; print(settings.SCHEDULED_TIME)")

    found = [
        sqlite_project.manage(*ask).stdout.strip(),
        sqlite_project.manage(*ask, SCHEDULED_TIME="04:30").stdout.strip(),
        sqlite_project.manage(*ask).stdout.strip(),
    ]
    wrong = sqlite_project.manage("check", check=False, SCHEDULED_TIME="25:00")

    assert found == ["02:00:00", "04:30:00", "02:00:00"]
    assert "SCHEDULED_TIME='25:00' can't be read" in wrong.stderr


@pytest.mark.slow
def test_a_forked_command_has_the_settings_of_a_new_interpreter(sqlite_project: Project) -> None:
    """The fork server has set Django up with other settings before."""
    sqlite_project.environment.update(
        DATABASE_URL="postgres://ada@db.example/music", REDIS_URL="redis://127.0.0.1:1/3", HTTPS="true",
        TIME_ZONE="Europe/Paris", LANGUAGE_CODE="fr", PROXY_COUNT="2", DEBUG="true", UMASK="027",
        EMAIL_URL="smtp://ada:secret@mail.example:26", STATIC_ROOT=str(sqlite_project.folder / "static"),
        ALLOWED_HOSTS="music.example", SECRET_KEY="s" * 60, LOG_LEVEL="ERROR",
    )  # fmt: skip

    forked = sqlite_project.shell(ASK_ALL)
    new = replace(sqlite_project, fork_server=None).shell(ASK_ALL)

    assert forked.splitlines() == new.splitlines()
    assert len(new.splitlines()) > 300


@pytest.mark.slow
@pytest.mark.parametrize(
    "ending",
    [
        "raise SystemExit('refused')", "raise SystemExit(3)", "raise SystemExit([1, 2])",
        "raise SystemExit(2.5)", "raise SystemExit", "sys.stdout.close(); sys.stderr.close()", "1 / 0",
        "print('begun'); atexit.register(print, 'ended')",
        "threading.Thread(target=lambda: print(threading.main_thread().join() or 'last')).start()",
        "raise KeyboardInterrupt", "os.close(1); print('lost')",
    ],
)  # fmt: skip
def test_a_forked_command_ends_as_a_new_interpreter_does(ending: str, sqlite_project: Project) -> None:
    code = sqlite_project.folder / "ending.py"
    code.write_text(f"import atexit, os, sys, threading\n{ending}\n")
    command = (sys.executable, str(code))

    forked = sqlite_project.start(*command)
    new = replace(sqlite_project, fork_server=None).start(*command)

    said, said_by_new = forked.communicate()[0], new.communicate()[0]
    assert forked.returncode == new.returncode
    # The traceback of a forked command has the server's lines too.
    assert said.splitlines()[-1:] == said_by_new.splitlines()[-1:]
