"""What integration tests must not depend on: seeds of lists, and caches that expire after some seconds."""

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest

from recommender.experiments.assignment import RELOAD_SECONDS, RUNNING_EXPERIMENTS
from recommender.models import naming
from recommender.registry import model_loader
from recommender.serving import recommendations


@pytest.fixture(autouse=True)
def _same_lists_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Number the seeds of lists that ask for none; free draws fail one run in some hundred."""
    numbers = count()
    monkeypatch.setattr(
        recommendations, "secrets", SimpleNamespace(token_hex=lambda _: f"{next(numbers):032x}")
    )


@pytest.fixture(autouse=True)
def _no_names_of_another_test() -> Iterator[None]:
    """Forget names that staff chose in this test, which are cached for a minute."""
    yield
    if naming._cache.known is not None and naming._cache.known.chosen:
        naming._cache.known = None


@pytest.fixture
def django_assert_num_queries(django_assert_num_queries: Any) -> Any:
    """pytest-django's fixture, which also keeps values cached before the block from expiring in it."""

    def count_queries(*arguments: Any, **named: Any) -> Any:
        # Otherwise one test in fifty has a query more, because a cache of five seconds expired just then.
        now = time.monotonic()
        if RUNNING_EXPERIMENTS._next_reload > 0:
            RUNNING_EXPERIMENTS._next_reload = now + RELOAD_SECONDS
        for loader in model_loader._loaders.values():
            if loader._next_check_at > 0:
                loader._next_check_at = now + model_loader.CHECK_EVERY
        if naming._cache.known is not None:
            naming._cache.known = replace(naming._cache.known, until=now + naming.KNOWN_NAMES_SECONDS)
        return django_assert_num_queries(*arguments, **named)

    return count_queries
