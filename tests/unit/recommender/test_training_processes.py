from typing import Any

import pytest

from recommender.engine.parallel import available_processors
from recommender.retraining import training_options


@pytest.mark.parametrize(
    ("asked", "setting", "expected"),
    [(3, 2, 3), (None, 2, 2), (None, 0, available_processors())],
    ids=["the option", "the setting", "one for each processor"],
)
def test_processes_come_from_the_option_then_the_setting(
    settings: Any, asked: int | None, setting: int, expected: int
) -> None:
    settings.TRAINING_PROCESSES = setting

    assert training_options(processes=asked).processes == expected
