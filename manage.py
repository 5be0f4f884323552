#!/usr/bin/env python3
"""Run a management command; without Django, first create .venv beside this file.

If Django can't be imported, the locked packages are installed into .venv, with their hashes, and the command
runs there. This file uses only the standard library and old syntax, so that an old Python can print the
message that it is too old.
"""

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import time
import typing

HERE = os.path.dirname(os.path.abspath(__file__))
VENV = os.path.join(HERE, ".venv")
PYTHON = os.path.join(VENV, "Scripts" if os.name == "nt" else "bin", "python")
# Lists the installed lock files; empty while .venv is being created, so that an interrupted one is detected.
STAMP = os.path.join(VENV, "moovitamix-stamp")
RUNTIME_LOCK = os.path.join(HERE, "requirements.lock")
# Includes the runtime's packages, at the same versions.
DEV_LOCK = os.path.join(HERE, "requirements-dev.lock")
OLDEST = (3, 11)
QUIET_SECONDS = 10  # between two lines about the download, if they go to a file


def main() -> None:
    if sys.version_info < OLDEST:
        sys.exit("MoovitaMix needs Python 3.11 or newer; this is %s." % sys.version.split()[0])
    testing = sys.argv[1:2] == ["test"]
    if not is_importable("django"):
        try:
            run_in_venv(DEV_LOCK if testing else RUNTIME_LOCK)
        except OSError as error:
            sys.exit("The virtual environment %s can't be created: %s" % (VENV, error))
    if testing and not is_importable("pytest"):
        sys.exit(
            "pytest is not installed in this environment. Install what the tests need:\n"
            "  %s -m pip install --require-hashes -r %s" % (sys.executable, DEV_LOCK)
        )
    sys.path.insert(0, HERE)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "moovitamix.settings")
    run_command()


def run_command() -> None:
    from django.core.management import execute_from_command_line

    from moovitamix.reporting.console_errors import errors_as_sentences

    with errors_as_sentences():
        execute_from_command_line(sys.argv)


def is_importable(name: str) -> bool:
    try:
        __import__(name)
    except ImportError:
        return False
    return True


def run_in_venv(lock: str) -> None:
    """Create or update .venv to match the lock file, then run this command again in it."""
    if os.path.realpath(sys.prefix) == os.path.realpath(VENV):
        # Otherwise it would start itself for ever.
        sys.exit(
            "Django is missing in %s. Delete that folder, and run this with the system's python3." % VENV
        )
    with one_at_a_time(VENV + ".lock"):
        if stamp_of(lock) not in read_stamps() or not os.path.exists(PYTHON):
            install(lock)
    command = [PYTHON, os.path.join(HERE, "manage.py")] + sys.argv[1:]
    if os.name == "nt":
        sys.exit(subprocess.call(command))
    os.execv(PYTHON, command)


def install(lock: str) -> None:
    if os.path.exists(VENV) and not os.path.exists(STAMP):
        sys.exit(
            "%s was not created by manage.py and has no Django. Delete it, or activate it and install:\n"
            "  python -m pip install --require-hashes -r %s" % (VENV, lock)
        )
    say("Installing %s into .venv. This takes about a minute, once." % os.path.basename(lock))
    # A complete .venv is updated in place, because a process may be running in it.
    complete = any(line.endswith(python_version()) for line in read_stamps()) and os.path.exists(PYTHON)
    if not complete:
        create_empty()
    write_stamps([])
    if run_pip(lock) != 0:
        sys.exit(
            "The packages could not be installed; see pip's message. Check that this machine reaches PyPI,\n"
            "or the index in PIP_INDEX_URL (behind a proxy: HTTPS_PROXY), then run the same command again."
        )
    write_stamps([DEV_LOCK, RUNTIME_LOCK] if lock == DEV_LOCK else [lock])
    say("Done.")


def run_pip(lock: str) -> int:
    """Install what the lock file names, and say how far it is; returns pip's exit code."""
    with open(lock) as file:
        total = sum("==" in line and not line.startswith((" ", "#")) for line in file)
    pip = [PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off"]
    process = subprocess.Popen(
        pip + ["--require-hashes", "-r", lock], stdout=subprocess.PIPE, universal_newlines=True
    )
    found, shown_at, terminal = 0, time.monotonic(), sys.stderr.isatty()
    for line in process.stdout or ():
        if line.startswith("Collecting "):
            found += 1
            text = "  %d of %d packages" % (found, total)
        elif line.startswith("Installing collected packages"):
            text = "  unpacking %d packages" % found
        else:
            continue
        if terminal:
            sys.stderr.write("\r" + text.ljust(40))
            sys.stderr.flush()
        elif time.monotonic() - shown_at >= QUIET_SECONDS:
            shown_at = time.monotonic()
            say(text)
    if terminal:
        sys.stderr.write("\r" + " " * 40 + "\r")
    return process.wait()


def create_empty() -> None:
    try:
        import ensurepip
        import venv
    except ImportError:
        sys.exit("This Python has no venv module. On Debian and Ubuntu: apt install python3-venv")
    if os.path.exists(VENV):
        shutil.rmtree(VENV)
    os.mkdir(VENV)
    write_stamps([])
    try:
        venv.EnvBuilder(with_pip=True, symlinks=os.name != "nt").create(VENV)
    except subprocess.CalledProcessError as error:
        sys.exit("pip could not be installed into %s: %s" % (VENV, error))


def read_stamps() -> "list[str]":
    try:
        with open(STAMP) as stamp:
            return stamp.read().splitlines()
    except OSError:
        return []


def write_stamps(locks: "list[str]") -> None:
    with open(STAMP, "w") as stamp:
        stamp.write("".join(stamp_of(lock) + "\n" for lock in locks))


def stamp_of(lock: str) -> str:
    with open(lock, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    return "%s %s %s" % (os.path.basename(lock), digest, python_version())


def python_version() -> str:
    """Without the patch version, which does not require a new installation."""
    return "Python %d.%d" % sys.version_info[:2]


@contextlib.contextmanager
def one_at_a_time(path: str) -> "typing.Iterator[None]":
    """Make other manage.py processes wait while this one creates .venv."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Waiting for another manage.py that is creating .venv.")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
