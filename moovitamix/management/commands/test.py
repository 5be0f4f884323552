"""Run the tests, with a real PostgreSQL and a real Redis-protocol server."""

import os
import subprocess
import sys

from django.conf import settings
from django.core.management.base import BaseCommand
from django.utils import translation
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as _n

from ingestion.management.base import help_language

HELP = _n("""usage: manage.py test [pytest arguments]

Run every test with pytest, on a PostgreSQL and a Valkey that are started for them and deleted afterwards.
Arguments go to pytest as they are:

  manage.py test                              everything, on all cores
  manage.py test --fast                       without processes, browser, trained models and slow tests
  manage.py test tests/unit                   one folder
  manage.py test -k schedule -x               what has "schedule" in its name, up to the first failure
  manage.py test --lf                         what failed last time
  manage.py test -n 0 --pdb tests/unit        in one process, with a debugger where a test fails

A run that names no single file uses two processes a core, with --fast one (-n NUMBER changes that). The ten
slowest tests are listed at the end.

TEST_DATABASE_URL and TEST_REDIS_URL name servers to use instead; their data is not kept.
MOOVITAMIX_CHROMIUM names the browser of the browser tests, where chromium is not on PATH.
Every check that a change must pass, these tests among them: bash .ci/run
""")


# Each process needs about 400 MB and starts its own Valkey.
MAX_WORKERS = 16


class Command(BaseCommand):
    help = "Run every test with pytest, whose arguments it takes."
    requires_system_checks = ()

    def run_from_argv(self, argv: list[str]) -> None:
        # Bypasses Django's own parser, which would reject pytest's options.
        if {"-h", "--help"} & set(argv[2:]):
            with translation.override(help_language()):
                sys.stdout.write(_(HELP))
            return
        # The tests have their own settings and refuse to run with others.
        environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
        command = [sys.executable, "-m", "pytest", *parallel_options(argv[2:]), *argv[2:]]
        os.chdir(settings.CHECKOUT)
        if os.name == "nt":
            sys.exit(subprocess.call(command, env=environment))  # noqa: S603
        # Not a child process: after Ctrl-C, pytest needs time to stop its servers.
        os.execve(sys.executable, command, environment)  # noqa: S606


def parallel_options(arguments: list[str]) -> list[str]:
    """Options that use all cores, unless the arguments set them or name single files."""
    decided = ("-n", "--numprocesses", "--dist", "--pdb", "--version", "--collect-only", "--co", "--fixtures")
    if any(argument.startswith(decided) or ".py" in argument for argument in arguments):
        return []
    # Two per core: many tests wait for processes, fast ones do not. Each runs whole files, long ones first.
    per_core = 1 if "--fast" in arguments else 2
    workers = min(per_core * (os.cpu_count() or 1), MAX_WORKERS)
    return [f"--numprocesses={workers}", "--dist=loadfile", "--no-loadscope-reorder"]
