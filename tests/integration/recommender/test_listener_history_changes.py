"""Sessions that come late, grow, disappear or come back make a candidate list stale."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from ingestion.models import IngestionRun, ListeningHistory
from recommender import listener_profiles
from recommender.models import CandidateList
from recommender.registry import model_loader
from recommender.registry.model_loader import LoadedModel
from recommender.serving.candidates import candidate_cache
from recommender.serving.list_limits import ServingOptions
from tests.support.builders.recommendations import LISTENER, RECOMMENDED_AT

Change = Callable[[ListeningHistory], Any]


@pytest.fixture
def loaded(options: ServingOptions) -> LoadedModel:
    return model_loader.current_model(options.storage)


def end_a_run() -> None:
    IngestionRun.objects.create(
        trigger="command",
        status="succeeded",
        started_at=RECOMMENDED_AT,
        heartbeat_at=RECOMMENDED_AT,
        finished_at=timezone.now(),
        host="here",
        pid=1,
        process_started=0.0,
    )


def late(newest: ListeningHistory) -> None:
    """Add a session that is older than all stored ones, as if a page had missed it."""
    at = newest.created_at - timedelta(days=400)
    ListeningHistory.objects.create(user_id=LISTENER, items=newest.items[:1], created_at=at, updated_at=at)


def longer(newest: ListeningHistory) -> None:
    newest.items = [*newest.items, newest.items[0]]
    newest.save()


def corrected(newest: ListeningHistory) -> None:
    newest.items = newest.items[::-1]
    newest.updated_at += timedelta(hours=1)
    newest.save()


def gone(newest: ListeningHistory) -> None:
    newest.unavailable_at = RECOMMENDED_AT
    newest.save()


changes = pytest.mark.parametrize("change", [late, longer, corrected, gone])


@changes
def test_a_run_that_changes_a_history_makes_the_candidate_list_stale(
    loaded: LoadedModel, change: Change
) -> None:
    listener = LISTENER
    assert candidate_cache.prepare_lists([listener], loaded, RECOMMENDED_AT) == 1
    change(ListeningHistory.objects.filter(user_id=listener).latest("created_at"))
    end_a_run()

    ready = candidate_cache.load_if_fresh(listener, loaded, RECOMMENDED_AT)
    due = listener in candidate_cache.listeners_due(loaded, RECOMMENDED_AT)
    candidate_cache.prepare_lists([listener], loaded, RECOMMENDED_AT)

    assert (ready, due) == (None, True)
    assert candidate_cache.load_if_fresh(listener, loaded, RECOMMENDED_AT) is not None
    assert listener not in candidate_cache.listeners_due(loaded, RECOMMENDED_AT)


def test_after_a_session_in_the_future_new_sessions_still_count(loaded: LoadedModel) -> None:
    newest = ListeningHistory.objects.filter(user_id=LISTENER).latest("created_at")
    for at in (newest.created_at.replace(year=2099), newest.created_at + timedelta(hours=1)):
        ListeningHistory.objects.create(user_id=LISTENER, items=newest.items, created_at=at, updated_at=at)
        end_a_run()
        found = candidate_cache.load_if_fresh(LISTENER, loaded, RECOMMENDED_AT)
        candidate_cache.prepare_lists([LISTENER], loaded, RECOMMENDED_AT)

        assert found is None


def test_after_a_run_an_unchanged_history_is_compared_once(
    loaded: LoadedModel, django_assert_num_queries: Any
) -> None:
    candidate_cache.prepare_lists([LISTENER], loaded, RECOMMENDED_AT)
    end_a_run()

    with django_assert_num_queries(5):
        first = candidate_cache.load_if_fresh(LISTENER, loaded, RECOMMENDED_AT)
    with django_assert_num_queries(1):
        second = candidate_cache.load_if_fresh(LISTENER, loaded, RECOMMENDED_AT)

    assert first is not None
    assert second is not None


def test_both_ways_to_compute_a_fingerprint_agree(loaded: LoadedModel) -> None:
    known = listener_profiles.read_profiles([LISTENER, 10**9], RECOMMENDED_AT)

    assert (
        known[LISTENER].history_fingerprint
        == listener_profiles.read_history_fingerprints([LISTENER])[LISTENER]
    )
    assert listener_profiles.read_history_fingerprints([10**9]) == {10**9: listener_profiles.EMPTY_HISTORY}


def test_candidate_lists_without_a_fingerprint_are_generated_again(loaded: LoadedModel) -> None:
    candidate_cache.prepare_lists([LISTENER], loaded, RECOMMENDED_AT)
    end_a_run()
    CandidateList.objects.update(history="", run_id=0)

    assert candidate_cache.load_if_fresh(LISTENER, loaded, RECOMMENDED_AT) is None
