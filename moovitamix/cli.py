"""Console scripts of the installed package: start-server, start-pipeline, run-tests."""

import os
import sys
from argparse import ArgumentParser, Namespace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import django
from django.apps import apps
from django.conf import settings
from django.core.management import call_command, execute_from_command_line
from django.utils import translation
from django.utils.translation import gettext as _

from ingestion.management.base import TranslatedHelpFormatter, help_language, translate_help
from ingestion.source.errors import without_secrets
from moovitamix.reporting.console_errors import errors_as_sentences

DEFAULT_PORT: Final = 8001


def _n(text: str) -> str:
    """Mark a text for translation; Django's own function would read the settings when this is imported."""
    return text


INFO = _n("""MoovitaMix imports songs, users and listening histories from a music app's REST API into
three tables (songs, users, listening_history). A run succeeds only if every page was read,
every row was validated and the data did not change while it was read.

  start-server      serve a demo source at the port of BASE_URL
  start-pipeline    import every day at SCHEDULED_TIME, in the foreground
  run-tests         run the tests of a checkout

To import now: start-pipeline --test
""")

CONFIG_HELP = _n("""Settings are environment variables, or lines of the file .env in the current folder.

  BASE_URL          the source API (now {base_url})
  SCHEDULED_TIME    when to run each day, HH:MM (now {scheduled_time})
  TIME_ZONE         time zone of SCHEDULED_TIME (now {time_zone})
  DATABASE_NAME     the SQLite file (now {database})
  DATABASE_URL      PostgreSQL instead: postgres://user:password@host:5432/name
  SOURCE_TOKEN      bearer token, if the source requires one ({token})
  SOURCE_TIME_ZONE  time zone of the source's times without a zone (now {source_time_zone})
  MAX_REQUESTS_PER_SECOND  limit of the request rate; 0 for none (now {rate:g})

.env.example lists all settings with their defaults.""")
NOT_USED: Final = _n("not used: DATABASE_URL is set")
SET, NOT_SET = _n("set"), _n("not set")


ORIGINAL_DATABASE_FOUND = """{file} is a database of the original project. It stays as it is.
MoovitaMix keeps its data in {new} instead.
To begin with the old data, before the first run: start-pipeline --import-original
"""


def start_server() -> None:
    """Serve the demo source on the port of BASE_URL; takes the arguments of `demosource`."""
    with errors_as_sentences():
        _set_up_django()
        # Before the arguments, because the last --port counts.
        port = f"--port={urlsplit(settings.BASE_URL).port or DEFAULT_PORT}"
        execute_from_command_line(["start-server", "demosource", port, *sys.argv[1:]])


def start_pipeline() -> None:
    """Import every day at SCHEDULED_TIME until Ctrl-C, or once now with `--test`."""
    with errors_as_sentences():
        _set_up_django()
        _run_pipeline(_pipeline_options())


def _set_up_django() -> None:
    # A second set-up would point the log at another standard error.
    if not apps.ready:
        django.setup()


def _run_pipeline(options: Namespace) -> None:
    if options.info:
        _print(_in_help_language(INFO))
    if options.info or options.help_config or options.test:
        _print(_config_help())
    if (options.info or options.help_config) and not (options.test or options.import_original):
        return
    _prepare_database(options)
    if options.test:
        call_command("runingest")
    elif not options.import_original:
        call_command("runscheduler")


def _prepare_database(options: Namespace) -> None:
    original = settings.ORIGINAL_DATABASE
    if options.import_original and original is None:
        sys.exit(f"{settings.DATABASES['default']['NAME']} is not a database of the original project. "
                 "Import another file with: python -m django importlegacy FILE")  # fmt: skip
    if original is not None and not options.import_original:
        new = Path(settings.DATABASES["default"]["NAME"]).name
        _print(ORIGINAL_DATABASE_FOUND.format(file=original.name, new=new))
    call_command("migrate", verbosity=0)
    if options.import_original:
        call_command("importlegacy", original)


def run_tests() -> None:
    if not (Path.cwd() / "tests").is_dir():
        sys.exit("run-tests runs the tests of a checkout: change to a folder with tests/ first.")
    if find_spec("pytest") is None:
        sys.exit("pytest is not installed here: pip install --require-hashes -r requirements-dev.lock")
    # Importing this package has set it; the tests use their own settings.
    os.environ.pop("DJANGO_SETTINGS_MODULE", None)
    os.execv(sys.executable, [sys.executable, "-m", "pytest", *sys.argv[1:]])  # noqa: S606


def _pipeline_options() -> Namespace:
    parser = ArgumentParser(
        "start-pipeline",
        description="Import the source every day at SCHEDULED_TIME, in the foreground, until Ctrl-C.",
        epilog="With Celery instead, in a checkout: python3 manage.py work",
        formatter_class=TranslatedHelpFormatter,
    )
    flag = partial(parser.add_argument, action="store_true")
    flag("--test", help="show the configuration and import once, now")
    flag("--info", help="say what this is, list the commands and show the configuration")
    flag("--help-config", help="list the settings and their values")
    flag("--import-original", help="import the original project's music_data.db into the new database, once")
    translate_help(parser)
    return parser.parse_args()


def _config_help() -> str:
    database = settings.DATABASES["default"]
    return _in_help_language(CONFIG_HELP).format(
        base_url=without_secrets(settings.BASE_URL),
        scheduled_time=f"{settings.SCHEDULED_TIME:%H:%M}",
        time_zone=settings.TIME_ZONE,
        database=database["NAME"] if "sqlite" in database["ENGINE"] else _in_help_language(NOT_USED),
        token=_in_help_language(SET if settings.SOURCE_TOKEN else NOT_SET),
        source_time_zone=settings.SOURCE_TIME_ZONE,
        rate=settings.MAX_REQUESTS_PER_SECOND,
    )


def _in_help_language(text: str) -> str:
    with translation.override(help_language()):
        return _(text)


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
