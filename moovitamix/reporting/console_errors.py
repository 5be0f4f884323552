"""Shows errors of settings, the database and the terminal as one sentence without a traceback."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db.utils import InterfaceError, OperationalError

# The exit code of a program that wrote to a closed pipe: 128 + SIGPIPE.
BROKEN_PIPE_EXIT_CODE: Final = 141


@contextmanager
def errors_as_sentences() -> Iterator[None]:
    """Exit with one sentence if a setting is invalid, the database fails or the pipe is closed.

    With --traceback, raises these errors unchanged.
    """
    if "--traceback" in sys.argv:
        yield
        return
    try:
        yield
    except ImproperlyConfigured as error:
        _exit_with(str(error))
    except (OperationalError, InterfaceError) as error:
        _exit_with(_describe_database_error(error))
    except BrokenPipeError:
        # `runingest --dry-run | head`: Python would raise again when it flushes standard output at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(BROKEN_PIPE_EXIT_CODE)


def _exit_with(sentence: str) -> NoReturn:
    if "--json" in sys.argv:
        sys.stdout.write(json.dumps({"status": "failed", "exit_code": 1, "error": sentence}) + "\n")
    sys.exit(sentence)


def _describe_database_error(error: Exception) -> str:
    database = settings.DATABASES["default"]
    if "sqlite" in database["ENGINE"]:
        where, variable = database["NAME"], "DATABASE_NAME"
    else:
        where = f"{database['NAME']} at {database['HOST'] or 'the local socket'}:{database['PORT'] or 5432}"
        variable = "DATABASE_URL"
    reason = str(error).strip().partition("\n")[0]
    return (
        f"The database {where} can't be used: {reason}\n"
        f"Check that it is running and that {variable} is correct. --traceback shows where it failed."
    )
