"""The seed's commands, each a thin door: start-server, start-pipeline, run-tests."""

import os
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from importlib.util import find_spec
from pathlib import Path

import django
from django.conf import settings
from django.core.management import call_command, execute_from_command_line

from ingestion.source.errors import without_secrets
from moovitamix.console_errors import errors_as_sentences

INFO = """MoovitaMix reads songs, users and listening histories from a music app's REST API into
three tables (songs, users, listening_history), and calls a run a success only when it is
proven to be one: every page read, every row checked, nothing shifted while it was read.

  start-server      a demo source to try it on, at http://127.0.0.1:8001
  start-pipeline    runs every day at SCHEDULED_TIME, in the foreground
  run-tests         runs the tests of a checkout

The same run by hand: python -m django runingest --settings moovitamix.settings
More: start-pipeline --help-config"""

CONFIG_HELP = """Settings come from the environment, or from a file .env in the folder where you run this.

  BASE_URL          the source API (now {base_url})
  SCHEDULED_TIME    when to run each day, HH:MM (now {scheduled_time})
  TIME_ZONE         the zone of SCHEDULED_TIME (now {time_zone})
  DATABASE_NAME     the SQLite file (now {database})
  DATABASE_URL      PostgreSQL instead: postgres://user:password@host:5432/name
  SOURCE_TOKEN      bearer token, where the source wants one ({token})
  SOURCE_TIME_ZONE  the zone of the source's times that name none (now {source_time_zone})
  MAX_REQUESTS_PER_SECOND  how fast to ask at most; 0 is as fast as it answers (now {rate:g})

Every other one stands in .env.example with its default."""


def start_server() -> None:
    """Serve the demo source; arguments as `demosource`."""
    with errors_as_sentences():
        django.setup()
        execute_from_command_line(["start-server", "demosource", *sys.argv[1:]])


def start_pipeline() -> None:
    """Run every day at SCHEDULED_TIME until Ctrl-C; or once now, with `--test`."""
    options = _pipeline_options()
    with errors_as_sentences():
        django.setup()
        _pipeline(options)


def _pipeline(options: Namespace) -> None:
    if options.info:
        _say(INFO)
    elif options.help_config:
        _say(_config_help())
    elif options.test:
        _say(_config_help())
        call_command("migrate", verbosity=0)
        call_command("runingest")
    else:
        call_command("migrate", verbosity=0)
        call_command("runscheduler")


def run_tests() -> None:
    """Run pytest in a checkout; every argument goes to pytest."""
    if not (Path.cwd() / "tests").is_dir():
        sys.exit("run-tests runs a checkout's tests: change to a folder that has tests/ first.")
    if find_spec("pytest") is None:
        sys.exit("pytest is not installed here: pip install --require-hashes -r requirements-dev.lock")
    # Named by the Celery app, at the import of the package; the tests bring settings of their own.
    os.environ.pop("DJANGO_SETTINGS_MODULE", None)
    os.execv(sys.executable, [sys.executable, "-m", "pytest", *sys.argv[1:]])  # noqa: S606


def _pipeline_options() -> Namespace:
    parser = ArgumentParser(
        "start-pipeline",
        description="Run the ingestion every day at SCHEDULED_TIME, in the foreground, until Ctrl-C.",
        epilog="With Celery instead: celery -A moovitamix worker -B",
        formatter_class=RawDescriptionHelpFormatter,
    )
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--test", action="store_true", help="show the configuration and run once, now")
    one.add_argument("--info", action="store_true", help="say what this is and which commands there are")
    one.add_argument("--help-config", action="store_true", help="list the settings and what they are now")
    return parser.parse_args()


def _config_help() -> str:
    database = settings.DATABASES["default"]
    return CONFIG_HELP.format(
        base_url=without_secrets(settings.BASE_URL),
        scheduled_time=f"{settings.SCHEDULED_TIME:%H:%M}",
        time_zone=settings.TIME_ZONE,
        database=database["NAME"] if "sqlite" in database["ENGINE"] else "not used: DATABASE_URL is set",
        token="set" if settings.SOURCE_TOKEN else "not set",
        source_time_zone=settings.SOURCE_TIME_ZONE,
        rate=settings.MAX_REQUESTS_PER_SECOND,
    )


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
