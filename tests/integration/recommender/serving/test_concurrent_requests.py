"""Concurrent requests for one page, and during a promotion."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event

import pytest
from django.db import connection

from ingestion.models import ListeningHistory
from recommender.models import CandidateList, ModelVersion, ServedList
from recommender.registry import model_loader
from recommender.serving import recommendations
from recommender.serving.list_limits import ServingOptions
from tests.support.builders.recommendations import RECOMMENDED_AT, recommend_list
from tests.support.builders.small_world import fill_tables, small_world
from tests.support.builders.trained_model import train_champion


@pytest.fixture
def committed(transactional_db: None, tmp_path: Path) -> ServingOptions:
    """A world and a model that other connections see too."""
    fill_tables(small_world())
    train_champion(tmp_path)
    return ServingOptions(tmp_path)


@pytest.mark.slow
def test_two_concurrent_requests_for_page_two_get_the_same_page(committed: ServingOptions) -> None:
    first = recommend_list(committed)
    together = Barrier(4)

    def ask(_: int) -> list[int]:
        together.wait()
        try:
            return [
                item["song"]
                for item in recommendations.continue_list(first.pk, upto=40, options=committed).items
            ]
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(ask, range(4)))

    served = ServedList.objects.get()
    assert all(answer == answers[0] for answer in answers)
    assert len(answers[0]) == 40
    assert len(served.pages) == 2
    assert recommendations.replay_list(first.pk).same


@pytest.mark.slow
def test_a_promotion_during_requests_fails_none_of_them(committed: ServingOptions) -> None:
    keeper = model_loader.loader_for(committed.storage)
    old = ModelVersion.objects.get()
    listeners = list(ListeningHistory.objects.values_list("user", flat=True).distinct()[:40])
    stop = Event()

    def ask(listener: int) -> list[tuple[str, int]]:
        answers = []
        try:
            while not stop.is_set():
                served = recommendations.recommend(listener, options=committed, now=RECOMMENDED_AT)
                answers.append((str(served.arm), len(served.items)))
                # Every request looks: a second passes for the keeper whenever it likes.
                keeper._next_check_at = 0.0
        finally:
            connection.close()
        return answers

    with ThreadPoolExecutor(4) as threads:
        running = [threads.submit(ask, listener) for listener in listeners[:4]]
        try:
            new = train_champion(committed.storage)
            until_seen(new)
        finally:
            stop.set()
        answers = [answer for one in running for answer in one.result()]

    versions = set(CandidateList.objects.values_list("version__label", flat=True))
    assert versions == {old.label, new.label}
    assert {arm for arm, _ in answers} == {"champion"}
    assert {length for _, length in answers} == {20}


def until_seen(version: ModelVersion) -> None:
    """Returns when a list of this version has been served."""
    end = time.monotonic() + 600
    while time.monotonic() < end and not ServedList.objects.filter(version=version).exists():
        pass
