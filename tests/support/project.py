"""An installation for one test: a database, folders, and commands that run as processes."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.support.fork_server import ForkServer

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Project:
    """Runs the commands of one installation.

    Attributes:
        environment: all variables of the commands, without those of the developer.
        folder: the working folder of this test.
        fork_server: forks the processes; without it, each is a new interpreter.
    """

    environment: dict[str, str]
    folder: Path
    fork_server: ForkServer | None = None
    processes: list["subprocess.Popen[str]"] = field(default_factory=list)

    def manage(
        self, *arguments: str, check: bool = True, timeout: float = 600, **variables: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run a management command to its end."""
        command = [sys.executable, str(ROOT / "manage.py"), *arguments]
        environment = {**self.environment, **variables}
        if self.fork_server is not None and self.fork_server.can_run(command, environment):
            done = self.fork_server.run(command, environment, self.folder, timeout)
        else:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=timeout, cwd=self.folder,
                check=False,
            )  # fmt: skip
        assert not check or done.returncode == 0, (
            f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done

    def start(self, *command: str, cwd: Path = ROOT, **variables: str) -> "subprocess.Popen[str]":
        """Start a process, whose standard output and errors are one pipe; it ends with the test."""
        environment = {**self.environment, "PYTHONUNBUFFERED": "1", **variables}
        process: subprocess.Popen[str]
        if self.fork_server is not None and self.fork_server.can_run(command, environment):
            process = self.fork_server.start(command, environment, cwd)
        else:
            process = subprocess.Popen(
                command, env=environment, text=True, cwd=cwd,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self.processes.append(process)
        return process

    def shell(self, code: str) -> str:
        """The output of a piece of Python code with this project's settings."""
        return self.manage("shell", "--no-imports", "-c", code).stdout.strip()

    def stop(self) -> None:
        """End all started processes with their children."""
        for process in self.processes:
            # Some children have a session of their own.
            with suppress(psutil.NoSuchProcess):
                for child in psutil.Process(process.pid).children(recursive=True):
                    with suppress(psutil.NoSuchProcess):
                        child.kill()
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def wait_for_line(process: "subprocess.Popen[str]", text: str, within: float = 600) -> str:
    """The output of the process up to the first line that contains `text`.

    Raises:
        AssertionError: the process ended before that, or was killed because no such line came `within`
            seconds.
    """
    said: list[str] = []
    assert process.stdout is not None
    patience = threading.Timer(within, process.kill)
    patience.start()
    try:
        for line in process.stdout:
            said.append(line)
            if text in line:
                return "".join(said)
    finally:
        patience.cancel()
    raise AssertionError(f"ended before it said {text!r}:\n{''.join(said)}")


def build_environment(folder: Path, **variables: Any) -> dict[str, str]:
    """An environment in which everything is written below `folder`."""
    ours = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(folder),
        "ENV_FILE": "/dev/null",
        "VAR_DIR": str(folder / "var"),
        # Most tests run one command, and no Beat or worker; the others name the parts.
        "EXPECTED_PARTS": "",
        "PYTHONWARNINGS": "error::RuntimeWarning",
    }
    return ours | {name: str(value) for name, value in variables.items()}
