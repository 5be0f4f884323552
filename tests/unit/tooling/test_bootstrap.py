"""manage.py on a bare machine: it makes its environment once, and only touches what it made."""

import ast
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.project import ROOT

# Stands in for Django: says where it runs, and with what.
DJANGO = {
    "django/__init__.py": "",
    "django/core/__init__.py": "",
    "django/core/management.py": "import sys\ndef execute_from_command_line(argv):\n"
    "    print(sys.prefix, argv[1:], flush=True)\n",
}
PYTEST = {"pytest/__init__.py": ""}
# Python takes five seconds to put pip into a new environment. Where a test is about something else, pip is
# copied from the one environment that was made whole.
COPY_PIP = """
import glob, os, runpy, shutil, sys, venv
def copy_pip(builder, context):
    for found in glob.glob({site!r} + "/pip*"):
        shutil.copytree(found, os.path.join(context.env_dir, {place!r}, os.path.basename(found)))
venv.EnvBuilder._setup_pip = copy_pip
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def make_wheel(folder: Path, name: str, version: str, files: dict[str, str]) -> str:
    """Put a wheel there; its line in a lock."""
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "".join(f"{path},,\n" for path in files))
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


class Checkout:
    """manage.py, two locks, and the wheels they name.

    Args:
        pip: an environment from which new ones get their pip.
    """

    def __init__(self, folder: Path, pip: Path | None = None) -> None:
        self.folder = folder
        self.pip = pip
        self.venv = folder / ".venv"
        self.wheels = folder / "wheels"

    def fill(self) -> "Checkout":
        self.wheels.mkdir(parents=True)
        shutil.copy(ROOT / "manage.py", self.folder)
        (self.folder / "moovitamix" / "reporting").mkdir(parents=True)
        (self.folder / "moovitamix" / "reporting" / "console_errors.py").write_text(
            "from contextlib import nullcontext as errors_as_sentences\n"
        )
        django = make_wheel(self.wheels, "django", "1.0", DJANGO)
        pytest_line = make_wheel(self.wheels, "pytest", "1.0", PYTEST)
        (self.folder / "requirements.lock").write_text(django)
        (self.folder / "requirements-dev.lock").write_text(django + pytest_line)
        return self

    def start(self, *arguments: str, python: str = "") -> "subprocess.Popen[str]":
        # -S: what is installed for the Python of this machine is not there.
        command = [python or sys._base_executable, *([] if python else ["-S"])]  # type: ignore[attr-defined]
        if self.pip is not None:
            site = next(self.pip.glob("lib/python*/site-packages"))
            command += ["-c", COPY_PIP.format(site=str(site), place=str(site.relative_to(self.pip)))]
        return subprocess.Popen(
            [*command, str(self.folder / "manage.py"), *arguments], text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/",
            env={"HOME": "", "PATH": "", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": self.wheels.as_uri()},
        )  # fmt: skip

    def run(self, *arguments: str, python: str = "") -> tuple[int, str, str]:
        process = self.start(*arguments, python=python)
        output, errors = process.communicate(timeout=600)
        return process.returncode, output, errors

    @property
    def stamps(self) -> list[str]:
        return [line.split()[0] for line in (self.venv / "moovitamix-stamp").read_text().splitlines()]


@dataclass(frozen=True)
class FirstCommand:
    """What the first command on a bare machine left and said."""

    checkout: Checkout
    code: int
    output: str
    errors: str


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> FirstCommand:
    checkout = Checkout(tmp_path_factory.mktemp("installed") / "a checkout").fill()
    return FirstCommand(checkout, *checkout.run("check", "--deploy"))


@pytest.fixture
def checkout(first: FirstCommand, tmp_path: Path) -> Checkout:
    """A bare checkout."""
    return Checkout(tmp_path / "a checkout", pip=first.checkout.venv).fill()


@pytest.fixture
def installed(first: FirstCommand, tmp_path: Path) -> Checkout:
    """A checkout in which a command has run once."""
    copy = shutil.copytree(first.checkout.folder, tmp_path / "a checkout", symlinks=True)
    return Checkout(copy, pip=first.checkout.venv)


@pytest.mark.slow
def test_the_first_command_on_a_bare_machine_makes_an_environment_and_runs_in_it(first: FirstCommand) -> None:
    assert (first.code, first.output) == (0, f"{first.checkout.venv} ['check', '--deploy']\n")
    # To a file, a line every ten seconds says how far the download is.
    announced = "Installing requirements.lock into .venv. This takes about a minute, once.\n"
    assert re.fullmatch(re.escape(announced) + r"(  .*packages\n)*Done\.\n", first.errors)
    assert first.checkout.stamps == ["requirements.lock"]


@pytest.mark.slow
def test_the_second_command_installs_nothing_and_says_nothing(installed: Checkout) -> None:
    shutil.rmtree(installed.wheels)

    code, output, errors = installed.run("check")

    assert (code, output, errors) == (0, f"{installed.venv} ['check']\n", "")


@pytest.mark.slow
def test_tests_are_added_to_an_environment_in_which_a_program_may_be_running(installed: Checkout) -> None:
    (installed.venv / "in-use").touch()

    code, output, errors = installed.run("test", "-x")

    assert (code, output) == (0, f"{installed.venv} ['test', '-x']\n")
    assert "Installing requirements-dev.lock" in errors
    assert (installed.venv / "in-use").exists()
    assert installed.stamps == ["requirements-dev.lock", "requirements.lock"]


@pytest.mark.slow
def test_an_environment_for_the_tests_serves_every_other_command(checkout: Checkout) -> None:
    assert checkout.run("test")[0] == 0

    code, _, errors = checkout.run("check")

    assert (code, errors) == (0, "")


@pytest.mark.slow
def test_a_lock_that_has_changed_is_installed(installed: Checkout) -> None:
    changed = {**DJANGO, "django/core/management.py": "def execute_from_command_line(argv): print('new')\n"}
    lock = make_wheel(installed.wheels, "django", "2.0", changed)
    (installed.folder / "requirements.lock").write_text(lock)

    code, output, errors = installed.run("check")

    assert (code, output) == (0, "new\n")
    assert "Installing requirements.lock" in errors


@pytest.mark.slow
def test_an_installation_that_was_killed_is_made_again(checkout: Checkout) -> None:
    process = checkout.start("check")
    assert process.stderr is not None
    process.stderr.readline()
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()

    code, output, _ = checkout.run("check")

    assert (code, output) == (0, f"{checkout.venv} ['check']\n")


@pytest.mark.slow
def test_a_half_made_environment_is_made_anew(installed: Checkout) -> None:
    (installed.venv / "moovitamix-stamp").write_text("")
    (installed.venv / "half-made").touch()

    code, _, errors = installed.run("check")

    assert code == 0
    assert "Installing requirements.lock" in errors
    assert not (installed.venv / "half-made").exists()


@pytest.mark.slow
def test_an_environment_of_another_python_is_made_anew(installed: Checkout) -> None:
    stamp = installed.venv / "moovitamix-stamp"
    stamp.write_text(stamp.read_text().replace(f"Python 3.{sys.version_info.minor}", "Python 3.1"))
    (installed.venv / "of-another").touch()

    code, _, errors = installed.run("check")

    assert code == 0
    assert "Installing requirements.lock" in errors
    assert not (installed.venv / "of-another").exists()


@pytest.mark.slow
def test_a_folder_that_somebody_else_made_is_left_alone(checkout: Checkout) -> None:
    checkout.venv.mkdir()
    (checkout.venv / "mine").touch()

    code, output, errors = checkout.run("check")

    assert (code, output) == (1, "")
    assert "was not created by manage.py and has no Django. Delete it, or activate it and install:" in errors
    assert [path.name for path in checkout.venv.iterdir()] == ["mine"]


@pytest.mark.slow
def test_two_commands_at_once_make_one_environment(checkout: Checkout) -> None:
    both = [checkout.start("check"), checkout.start("check")]
    said = [process.communicate(timeout=600) for process in both]

    assert [process.returncode for process in both] == [0, 0]
    assert [output for output, _ in said] == [f"{checkout.venv} ['check']\n"] * 2
    assert sorted(errors.splitlines()[0].split()[0] for _, errors in said) == ["Installing", "Waiting"]


@pytest.mark.slow
def test_packages_that_cannot_be_had_end_in_what_pip_says_and_what_to_look_at(checkout: Checkout) -> None:
    shutil.rmtree(checkout.wheels)

    code, output, errors = checkout.run("check")

    assert (code, output) == (1, "")
    assert "No matching distribution found for django==1.0" in errors
    assert "Check that this machine reaches PyPI,\nor the index in PIP_INDEX_URL" in errors
    assert checkout.stamps == []


@pytest.mark.slow
def test_a_package_whose_hash_is_wrong_is_refused(checkout: Checkout) -> None:
    make_wheel(checkout.wheels, "django", "1.0", {**DJANGO, "django/evil.py": ""})

    code, output, errors = checkout.run("check")

    assert (code, output) == (1, "")
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in errors


@pytest.mark.slow
def test_an_environment_that_lost_django_says_so_instead_of_starting_itself_for_ever(
    installed: Checkout,
) -> None:
    for package in installed.venv.glob("lib/python*/site-packages/django"):
        shutil.rmtree(package)

    code, output, errors = installed.run("check")

    assert (code, output) == (1, "")
    assert errors.startswith(f"Django is missing in {installed.venv}. Delete that folder")


@pytest.mark.slow
def test_tests_in_an_environment_without_pytest_say_what_to_install(installed: Checkout) -> None:
    code, output, errors = installed.run("test", python=str(installed.venv / "bin" / "python"))

    assert (code, output) == (1, "")
    assert errors.startswith("pytest is not installed in this environment. Install what the tests need:\n")
    assert f"-m pip install --require-hashes -r {installed.folder}/requirements-dev.lock" in errors


@pytest.mark.slow
def test_a_python_without_venv_is_told_what_to_install(checkout: Checkout) -> None:
    code, output, errors = run_with(checkout, "sys.modules['ensurepip'] = None")

    assert (code, output) == (1, "")
    assert errors.endswith("This Python has no venv module. On Debian and Ubuntu: apt install python3-venv\n")
    assert not checkout.venv.exists()


@pytest.mark.slow
def test_an_old_python_is_refused_in_one_line(checkout: Checkout) -> None:
    code, output, errors = run_with(checkout, "sys.version_info, sys.version = (3, 10, 12), '3.10.12 (main)'")

    assert (code, output, errors) == (1, "", "MoovitaMix needs Python 3.11 or newer; this is 3.10.12.\n")
    assert not checkout.venv.exists()


def test_old_pythons_can_read_the_file_that_refuses_them() -> None:
    tree = ast.parse((ROOT / "manage.py").read_text(), feature_version=(3, 4))

    assert not [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr | ast.AnnAssign)]


def run_with(checkout: Checkout, first: str) -> tuple[int, str, str]:
    """Run `manage.py check` in a Python process after the code `first`."""
    file = str(checkout.folder / "manage.py")
    code = f"import runpy, sys; {first}; runpy.run_path({file!r}, run_name='__main__')"
    done = subprocess.run(
        [sys._base_executable, "-S", "-c", code],  # type: ignore[attr-defined]
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr
