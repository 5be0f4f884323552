"""A served list replays bit for bit in any process, whatever has happened since."""

import json
import os
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest

from ingestion.models import ListeningHistory, Song
from recommender.feedback import events
from recommender.models import Feedback
from recommender.serving import recommendations
from recommender.serving.list_limits import ServingOptions
from recommender.serving.list_sampler import PickedSong
from tests.support.builders.recommendations import LISTENER, RECOMMENDED_AT, recommend_list, song_ids
from tests.support.builders.trained_model import train_champion

pytestmark = pytest.mark.django_db

ROOT = Path(__file__).resolve().parents[4]
REDRAW = """
import json, sys
from recommender.serving.list_sampler import ListSampler, ListPage, DrawOptions
from recommender.engine.sampling.candidate_codec import decode_candidates
asked = json.load(sys.stdin)
shown = {int(song): count for song, count in asked["impressions"].items()}
drawing = ListSampler(decode_candidates(bytes.fromhex(asked["shelf"])), DrawOptions(*asked["terms"], shown))
print(json.dumps([pick for page in asked["pages"] for pick in drawing.draw_page(ListPage.from_json(page))]))
"""


@pytest.mark.parametrize("discovery", [0.0, 0.1, 0.3, 0.9, 1.0])
def test_a_list_replays_bit_for_bit(options: ServingOptions, discovery: float) -> None:
    earlier = recommend_list(options, discovery=discovery)
    served = recommend_list(options, discovery=discovery)

    assert served.impressions == {str(item["song"]): 1.0 for item in earlier.items}
    replayed = recommendations.replay_list(served.pk)

    assert replayed.same
    assert replayed.drawn == replayed.stored
    assert len(replayed.drawn) == 20


def test_another_process_draws_the_same_list(options: ServingOptions) -> None:
    recommend_list(options)
    served = recommendations.continue_list(recommend_list(options).pk, upto=50, options=options)
    asked = {
        "shelf": bytes(served.candidate_list.candidates).hex(),
        "terms": [served.seed, served.discovery, served.temperature, served.artist_cap],
        "impressions": served.impressions,
        "pages": served.pages,
    }

    done = subprocess.run(
        [sys.executable, "-c", REDRAW], input=json.dumps(asked), capture_output=True, text=True, check=True,
        cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": "12345"},
    )  # fmt: skip

    drawn = [PickedSong(*pick) for pick in json.loads(done.stdout)]
    assert [(pick.song, pick.propensity) for pick in drawn] == [
        (item["song"], item["propensity"]) for item in served.items
    ]
    assert len(drawn) == 50


def test_later_events_do_not_change_a_replay(options: ServingOptions) -> None:
    served = recommend_list(options)
    first = served.items[0]["song"]
    Song.objects.filter(pk__in=song_ids(served)).update(unavailable_at=RECOMMENDED_AT)
    ListeningHistory.objects.filter(user=LISTENER).delete()
    events.record_events(
        [events.FeedbackEvent("a", LISTENER, first, Feedback.Kind.DISLIKE)], received_at=RECOMMENDED_AT
    )  # fmt: skip
    train_champion(options.storage)

    assert recommendations.replay_list(served.pk).same


def test_a_list_drawn_without_unavailable_songs_replays(options: ServingOptions) -> None:
    gone = [item["song"] for item in recommend_list(options).items[:6]]
    Song.objects.filter(pk__in=gone).update(unavailable_at=RECOMMENDED_AT)
    served = recommend_list(options)
    Song.objects.filter(pk__in=gone).update(unavailable_at=None)

    assert set(gone) <= set(served.pages[0]["excluded"])
    assert recommendations.replay_list(served.pk).same


def test_the_next_song_in_a_preferred_cluster_replays(options: ServingOptions) -> None:
    after = recommend_list(options).items[5]["song"]

    served = recommendations.next_song(LISTENER, after=after, options=options, now=RECOMMENDED_AT)

    assert served.pages[0]["near"] is not None
    assert recommendations.replay_list(served.pk).same


def test_a_fallback_list_replays(options: ServingOptions, tmp_path: Path) -> None:
    served = recommend_list(ServingOptions(tmp_path))

    assert served.arm == "fallback"
    assert recommendations.replay_list(served.pk).same


def test_a_replay_detects_a_changed_list(options: ServingOptions) -> None:
    served = recommend_list(options)
    served.items[3]["propensity"] += 1e-12
    served.save(update_fields=["items"])

    replayed = recommendations.replay_list(served.pk)

    assert not replayed.same
    assert [a == b for a, b in zip(replayed.stored, replayed.drawn, strict=True)].index(False) == 3


def test_an_unknown_list_can_not_be_replayed() -> None:
    with pytest.raises(recommendations.UnknownList, match="There is no list 0000"):
        recommendations.replay_list(UUID(int=1))
