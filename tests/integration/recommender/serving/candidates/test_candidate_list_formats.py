"""Candidate lists of another release: older formats are read, newer ones are generated anew."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F

from ingestion.models import ListeningHistory
from recommender.engine.sampling import candidate_codec
from recommender.engine.sampling.candidate_codec import CURRENT_FORMAT, decode_candidates, encode_candidates
from recommender.models import CandidateList, ServedList
from recommender.serving import recommendations
from recommender.serving.list_limits import ServingOptions
from recommender.serving.list_sampler import RERECOMMENDED
from tests.support.builders.recommendations import LISTENER, forget_lists, recommend_list, song_ids

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _listener_played_long_ago(options: ServingOptions) -> None:
    """The listener's songs are old enough to be recommended again, so that their last plays matter."""
    ListeningHistory.objects.filter(user=LISTENER).update(created_at=F("created_at") - timedelta(days=70))


def familiar_list(options: ServingOptions) -> ServedList:
    forget_lists()
    return recommend_list(options, discovery=0, seed="fixed", n=50)


def without_reasons(served: ServedList) -> list[dict[str, Any]]:
    """The items without their reasons, some of which need what older formats lack."""
    return [
        {name: value for name, value in item.items() if not name.startswith("reason")}
        for item in served.items
    ]


def store_as_format_2(row: CandidateList) -> None:
    """As the release before wrote it: without the times of the last plays."""
    candidates = decode_candidates(bytes(row.candidates))
    assert candidates.last_played_at.keys() == set(
        candidates.songs[candidates.flags & RERECOMMENDED > 0].tolist()
    )
    row.candidates = encode_candidates(replace(candidates, format=2, last_played_at={}))
    row.save(update_fields=["candidates"])


def test_a_stored_list_of_format_2_serves_the_same_songs(options: ServingOptions) -> None:
    latest = familiar_list(options)
    store_as_format_2(CandidateList.objects.get())

    by_format_2 = familiar_list(options)

    assert by_format_2.candidate_list_id == latest.candidate_list_id
    assert without_reasons(by_format_2) == without_reasons(latest)
    assert "You have not heard it since August" in {item["reason"] for item in by_format_2.items}


def test_a_list_drawn_from_format_2_is_continued_and_replays(options: ServingOptions) -> None:
    familiar_list(options)
    store_as_format_2(CandidateList.objects.get())
    served = recommend_list(options, discovery=0.1)

    longer = recommendations.continue_list(served.pk, upto=40, options=options)

    assert len(longer.items) == 40
    assert longer.items[:20] == served.items
    assert recommendations.replay_list(served.pk).same


def test_a_candidate_list_of_a_newer_format_is_replaced_by_one_that_this_release_reads(
    options: ServingOptions, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    newer = familiar_list(options)
    with monkeypatch.context() as older_release:
        older_release.setattr(candidate_codec, "KNOWN_FORMATS", (1, 2))

        # A process of the older release would write format 2 here.
        served = familiar_list(options)
        row = CandidateList.objects.latest("pk")

    assert f"format {CURRENT_FORMAT}" in caplog.text
    assert song_ids(served) == song_ids(newer)
    assert served.candidate_list == row != newer.candidate_list
