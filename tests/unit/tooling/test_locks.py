"""The lock files: what production installs is a part of what the tests run with."""

import re

from tests.support.project import ROOT

PINNED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", re.MULTILINE)


def pins(name: str) -> dict[str, str]:
    return dict(PINNED.findall((ROOT / name).read_text()))


def test_the_spark_lock_changes_no_package_of_the_tests() -> None:
    development, spark = pins("requirements-dev.lock"), pins("requirements-spark.lock")

    added = spark.keys() - development.keys()
    assert added == {"pandas", "py4j", "pyarrow", "pyspark", "pytz"}
    assert {
        name: version for name, version in spark.items() if name not in added
    }.items() <= development.items()


def test_the_s3_lock_is_the_runtime_with_packages_of_the_tests() -> None:
    runtime, development, s3 = (
        pins(name) for name in ("requirements.lock", "requirements-dev.lock", "requirements-s3.lock")
    )

    assert runtime.items() <= s3.items() <= development.items()
    assert {"django-storages", "boto3", "s3transfer"} <= s3.keys()


def test_the_development_lock_contains_every_package_of_the_runtime_lock() -> None:
    runtime, development = pins("requirements.lock"), pins("requirements-dev.lock")

    assert len(runtime) > 50
    assert {name: development.get(name) for name in runtime} == runtime
