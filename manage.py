#!/usr/bin/env python3
"""Runs a command; on a bare machine it first makes an environment for itself.

Where Django cannot be imported, the locked packages are installed into .venv beside this file, with their
hashes, and the command runs there. Where it can, nothing of the kind happens. Only the standard library is
used, and the syntax is old on purpose: an old Python must get as far as the sentence that refuses it.
"""

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

HERE = os.path.dirname(os.path.abspath(__file__))
RUNTIME_LOCK = os.path.join(HERE, "requirements.lock")
# Holds the runtime's packages too, at the same versions.
DEV_LOCK = os.path.join(HERE, "requirements-dev.lock")
OLDEST = (3, 11)


def main() -> None:
    if sys.version_info < OLDEST:
        sys.exit("MoovitaMix needs Python 3.11 or newer; this is %s." % sys.version.split()[0])
    arguments = sys.argv[1:]
    testing = arguments[:1] == ["test"]
    if not is_importable("django"):
        run_in_venv(os.path.join(HERE, ".venv"), DEV_LOCK if testing else RUNTIME_LOCK)
    if testing and not is_importable("pytest"):
        sys.exit(
            "This environment has Django and no pytest. Install what the tests need:\n"
            "  %s -m pip install --require-hashes -r %s" % (sys.executable, DEV_LOCK)
        )
    sys.path.insert(0, HERE)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "moovitamix.settings")
    run_command()


def run_command() -> None:
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit("%s" % error)
    except KeyboardInterrupt:
        sys.exit(130)


def is_importable(name: str) -> bool:
    try:
        __import__(name)
    except ImportError:
        return False
    return True


def run_in_venv(venv: str, lock: str) -> None:
    """Make the environment where it is not as the lock says, and start again in it."""
    python = os.path.join(venv, "Scripts" if os.name == "nt" else "bin", "python")
    with only_one(venv + ".lock"):
        if not is_stamped(venv, lock):
            make(venv, python, lock)
    command = [python, os.path.join(HERE, "manage.py")] + sys.argv[1:]
    if os.name == "nt":
        sys.exit(subprocess.call(command))
    sys.stderr.flush()
    os.execv(python, command)


def make(venv: str, python: str, lock: str) -> None:
    try:
        import ensurepip
        import venv as module
    except ImportError:
        sys.exit(
            "This Python can't make environments: its venv module is missing.\n"
            "On Debian and Ubuntu: apt install python3-venv"
        )
    say("Installing what %s lists into .venv. This takes about a minute, once." % os.path.basename(lock))
    shutil.rmtree(venv, ignore_errors=True)
    module.EnvBuilder(with_pip=True, symlinks=os.name != "nt").create(venv)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
    if subprocess.call(pip + ["-r", lock]) != 0:
        sys.exit(
            "The packages could not be installed; pip says why, above. The machine needs to reach PyPI,\n"
            "or an index named by PIP_INDEX_URL (behind a proxy: HTTPS_PROXY). Then run this again."
        )
    # Last: an environment whose making was cut short has no stamp, and is made again.
    with open(os.path.join(venv, "moovitamix-stamp"), "w") as stamp:
        stamp.write("\n".join(stamps_of(lock)) + "\n")
    say("Done.")


def is_stamped(venv: str, lock: str) -> bool:
    try:
        with open(os.path.join(venv, "moovitamix-stamp")) as stamp:
            return stamp_of(lock) in stamp.read().splitlines()
    except OSError:
        return False


def stamps_of(lock: str) -> "list[str]":
    """What an environment made from this lock also serves."""
    return [stamp_of(DEV_LOCK), stamp_of(RUNTIME_LOCK)] if lock == DEV_LOCK else [stamp_of(lock)]


def stamp_of(lock: str) -> str:
    with open(lock, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    return "%s %s %s" % (os.path.basename(lock), digest, sys.version.split()[0])


@contextlib.contextmanager
def only_one(path: str) -> "Iterator[None]":
    """Hold back a second one that would make the same environment at the same time."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
