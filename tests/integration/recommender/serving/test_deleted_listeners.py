"""Candidate lists of listeners who are deleted while the lists are generated.

Not in test_candidate_cache.py: its model is trained in a transaction that lasts for the whole file, and a
deleted listener is noticed when a transaction ends.
"""

from datetime import UTC, datetime

import pytest

from recommender.models import CandidateList
from recommender.serving.candidates import candidate_cache
from tests.support.builders.api import make_listener

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.mark.django_db(transaction=True)
def test_a_listener_deleted_meanwhile_costs_the_others_no_list() -> None:
    make_listener(1)
    rows = [
        CandidateList(listener_id=listener, made_at=NOW, history="", run_id=0, feedback_id=0, candidates=b"")
        for listener in (1, 2)
    ]

    assert candidate_cache.store_batches([([1, 2], rows)], NOW, lambda done: None) == 1
    assert CandidateList.objects.get().listener_id == 1
