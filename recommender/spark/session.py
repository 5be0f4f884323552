"""Starts Spark, after checking what is most often missing."""

import importlib.util
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from importlib import metadata
from pathlib import Path
from typing import Final

import pyarrow as pa
from pyspark import SparkContext
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from recommender.engine.algorithms.engines import EngineUnavailable

ROOT: Final = Path(__file__).resolve().parents[2]
CONNECT_SECONDS: Final = 5.0
STOP_SECONDS: Final = 20.0
CHECKED_TASKS: Final = 2  # for each processor of the cluster, so that every worker gets one
OWN_PACKAGES: Final = ("ingestion", "moovitamix", "recommender")
# Each decides bits of the result.
COMPARED_PACKAGES: Final = ("numpy", "scipy", "pyarrow")


@contextmanager
def start_spark(master: str) -> Iterator[SparkSession]:
    """Yield a session on this master, such as `local[*]` or `spark://host:7077`.

    Raises:
        EngineUnavailable: Java is missing, the master is unreachable, or a worker has other versions.
    """
    if shutil.which("java") is None and not os.environ.get("JAVA_HOME"):
        raise EngineUnavailable(
            "Spark needs Java 17 or newer. On Debian and Ubuntu: apt install openjdk-17-jre-headless. "
            "If Java is installed, set JAVA_HOME or add it to PATH."
        )
    _require_reachable(master)
    try:
        session = _build(master)
    except (PySparkException, RuntimeError) as error:
        raise EngineUnavailable(f"Spark did not start on {master}: {_first_line(error)}") from error
    try:
        require_equal_workers(session)
        yield session
    finally:
        _stop(session)


def _build(master: str) -> SparkSession:
    builder = (
        SparkSession.builder.master(master)
        .appName("moovitamix")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.log.level", "ERROR")
        .config("spark.ui.showConsoleProgress", "false")
        # Its pages, which need no password, show the driver's settings and plans.
        .config("spark.ui.enabled", "false")
    )
    if master.startswith("local"):
        # Nothing listens beyond this machine, and workers find the code where this process found it.
        local = {
            "spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1",
            "spark.executorEnv.PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            "spark.executorEnv.OMP_NUM_THREADS": "1", "spark.executorEnv.OPENBLAS_NUM_THREADS": "1",
        }  # fmt: skip
        # Spark reads the workers' Python from here only.
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        for name, value in local.items():
            builder = builder.config(name, value)
    return builder.getOrCreate()


def _stop(session: SparkSession) -> None:
    """Stop Spark, and the Java process that `SparkSession.stop` leaves: 400 MB."""
    gateway = session.sparkContext._gateway  # noqa: SLF001
    try:
        session.stop()
    finally:
        java = getattr(gateway, "proc", None)
        if gateway is not None and java is not None:
            SparkContext._gateway = SparkContext._jvm = None  # noqa: SLF001
            gateway.shutdown()
            # Java ends when its input does.
            java.stdin.close()
            try:
                java.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                java.kill()
                java.wait()


def _require_reachable(master: str) -> None:
    # Spark itself gives up after a minute, with a Java stack trace.
    if not master.startswith("spark://"):
        return
    reasons = []
    for address in master.removeprefix("spark://").split(","):
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
        except (OSError, ValueError) as error:
            reasons.append(f"{address}: {error}")
        else:
            return
    raise EngineUnavailable(
        f"The Spark master does not answer ({'; '.join(reasons)}). Check SPARK_MASTER, that the master runs, "
        "and that no firewall is in between."
    )


def require_equal_workers(session: SparkSession) -> None:
    """Check that all workers have the same versions of this code and of packages that affect results.

    Raises:
        EngineUnavailable: a worker has another version.
    """
    describe = make_version_reporter()
    own = describe()

    def report(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for _ in batches:
            yield pa.record_batch({"host": [platform.node()], "versions": [describe()]})

    tasks = CHECKED_TASKS * session.sparkContext.defaultParallelism
    rows = session.range(tasks, numPartitions=tasks).mapInArrow(report, "host string, versions string")
    try:
        found = {(row["host"], row["versions"]) for row in rows.collect()}
    except PySparkException as error:
        raise EngineUnavailable(f"A Spark worker can't run Python: {_first_line(error)}") from error
    other = sorted(f"{host} has {versions}" for host, versions in found if versions != own)
    if other:
        raise EngineUnavailable(
            f"Spark workers must have the versions of this machine ({own}): {'; '.join(other)}. Install "
            "the same release, with its locked packages, on all of them."
        )


def make_version_reporter() -> Callable[[], str]:
    """A function that returns the versions of Python, of this code and of packages that affect results."""

    # A function inside a function is sent as code, so it runs on workers that lack this package.
    def describe() -> str:
        found = [f"Python {sys.version_info[0]}.{sys.version_info[1]}"]
        for name in COMPARED_PACKAGES:
            try:
                found.append(f"{name} {metadata.version(name)}")
            except metadata.PackageNotFoundError:
                found.append(f"no {name}")
        code = blake2b(digest_size=4)
        for package in OWN_PACKAGES:
            spec = importlib.util.find_spec(package)
            if spec is None or not spec.submodule_search_locations:
                return ", ".join([*found, "no MoovitaMix"])
            for file in sorted(Path(spec.submodule_search_locations[0]).rglob("*.py")):
                code.update(file.read_bytes())
        return ", ".join([*found, f"MoovitaMix {code.hexdigest()}"])

    return describe


def describe_failure(error: BaseException) -> str:
    """The first line of an error, and the last of a Python traceback in it."""
    text = str(error).split("JVM stacktrace")[0]
    lines = [line for line in text.splitlines() if line.strip() and not line[0].isspace()]
    return " ".join(dict.fromkeys([*lines[:1], *lines[-1:]])) or type(error).__name__


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", maxsplit=1)[0]
