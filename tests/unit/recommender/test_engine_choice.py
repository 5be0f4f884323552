"""Which engine a training uses, and what is missing for Spark."""

import sys
from contextlib import nullcontext
from typing import Any

import pytest

from recommender.engine.algorithms.engines import EngineUnavailable
from recommender.retraining import training_options
from recommender.spark import launch


@pytest.mark.parametrize(
    ("asked", "setting", "is_spark"),
    [(None, "local", False), (None, "spark", True), ("spark", "local", True), ("local", "spark", False)],
)
def test_the_engine_comes_from_the_option_then_the_setting(
    settings: Any, asked: str | None, setting: str, is_spark: bool
) -> None:
    settings.ENGINE = setting

    opened = training_options(engine=asked).open_engine

    assert (opened is not nullcontext) == is_spark


def test_without_pyspark_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, launch.SPARK_ENGINE, raising=False)
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    with pytest.raises(
        EngineUnavailable, match=r"needs the package pyarrow\. Install it: pip install '\.\[spark\]'"
    ):
        launch.open_spark("local[2]")
