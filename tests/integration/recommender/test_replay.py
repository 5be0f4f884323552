"""A served list can be drawn again, bit for bit, whatever happened since and wherever it is done."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier, Event
from uuid import UUID

import pytest
from django.db import connection

from ingestion.models import ListeningHistory, Song
from recommender import champion, feedback, serving
from recommender.drawing import Picked
from recommender.models import Feedback, ModelVersion, ServedList, Shelf
from recommender.serving import Options
from tests.support.listening import fill, small_world
from tests.support.trained import train

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
LISTENER = 470
ROOT = Path(__file__).resolve().parents[3]
REDRAW = """
import json, sys
from recommender.drawing import Drawing, Page, Terms
from recommender.engine.shelf import unpack
asked = json.load(sys.stdin)
drawing = Drawing(unpack(bytes.fromhex(asked["shelf"])), Terms(*asked["terms"]))
print(json.dumps([pick for page in asked["pages"] for pick in drawing.page(Page.from_json(page))]))
"""


def recommend(options: Options, n: int = 20, discovery: float = 0.3) -> ServedList:
    return serving.recommend(LISTENER, n=n, discovery=discovery, options=options, now=NOW)


@pytest.mark.django_db
@pytest.mark.parametrize("discovery", [0.0, 0.1, 0.3, 0.9, 1.0])
def test_a_list_is_drawn_again_bit_for_bit(options: Options, discovery: float) -> None:
    served = recommend(options, discovery=discovery)

    replayed = serving.replay(served.pk)

    assert replayed.same
    assert replayed.drawn == replayed.stored
    assert len(replayed.drawn) == 20


@pytest.mark.django_db
def test_another_process_draws_the_same(options: Options) -> None:
    served = serving.more(recommend(options).pk, upto=50, options=options)
    asked = {
        "shelf": bytes(served.shelf.candidates).hex(),
        "terms": [served.seed, served.discovery, served.temperature, served.artist_cap],
        "pages": served.pages,
    }

    done = subprocess.run(
        [sys.executable, "-c", REDRAW], input=json.dumps(asked), capture_output=True, text=True, check=True,
        cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": "12345"},
    )  # fmt: skip

    drawn = [Picked(*pick) for pick in json.loads(done.stdout)]
    assert [(pick.song, pick.propensity) for pick in drawn] == [
        (item["song"], item["propensity"]) for item in served.items
    ]
    assert len(drawn) == 50


@pytest.mark.django_db
def test_what_happened_since_changes_nothing(options: Options) -> None:
    served = recommend(options)
    first = served.items[0]["song"]
    Song.objects.update(unavailable_at=NOW)
    ListeningHistory.objects.filter(user=LISTENER).delete()
    feedback.record(
        [feedback.Event("a", LISTENER, first, Feedback.Kind.DISLIKE)], received_at=NOW
    )  # fmt: skip
    train(options.storage)

    assert serving.replay(served.pk).same


@pytest.mark.django_db
def test_a_list_drawn_around_songs_that_had_gone_is_drawn_again(options: Options) -> None:
    gone = [item["song"] for item in recommend(options).items[:6]]
    Song.objects.filter(pk__in=gone).update(unavailable_at=NOW)
    served = recommend(options)
    Song.objects.filter(pk__in=gone).update(unavailable_at=None)

    assert set(gone) <= set(served.pages[0]["excluded"])
    assert serving.replay(served.pk).same


@pytest.mark.django_db
def test_the_next_song_in_a_mood_is_drawn_again(options: Options) -> None:
    after = recommend(options).items[5]["song"]

    served = serving.next_song(LISTENER, after=after, options=options, now=NOW)

    assert served.pages[0]["near"] is not None
    assert serving.replay(served.pk).same


@pytest.mark.django_db
def test_a_list_made_for_want_of_a_model_is_drawn_again(options: Options, tmp_path: Path) -> None:
    served = recommend(Options(tmp_path))

    assert served.arm == "fallback"
    assert serving.replay(served.pk).same


@pytest.mark.django_db
def test_a_list_that_was_tampered_with_is_found_out(options: Options) -> None:
    served = recommend(options)
    served.items[3]["propensity"] += 1e-12
    served.save(update_fields=["items"])

    replayed = serving.replay(served.pk)

    assert not replayed.same
    assert [a == b for a, b in zip(replayed.stored, replayed.drawn, strict=True)].index(False) == 3


@pytest.mark.django_db
def test_an_unknown_list_can_not_be_replayed() -> None:
    with pytest.raises(serving.UnknownList, match="There is no list 0000"):
        serving.replay(UUID(int=1))


@pytest.fixture
def committed(transactional_db: None, tmp_path: Path) -> Options:
    """A world and a model that other connections see too."""
    fill(small_world())
    train(tmp_path)
    return Options(tmp_path)


def test_two_requests_for_page_two_at_once_get_one_page(committed: Options) -> None:
    first = recommend(committed)
    together = Barrier(4)

    def ask(_: int) -> list[int]:
        together.wait()
        try:
            return [item["song"] for item in serving.more(first.pk, upto=40, options=committed).items]
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(ask, range(4)))

    served = ServedList.objects.get()
    assert all(answer == answers[0] for answer in answers)
    assert len(answers[0]) == 40
    assert len(served.pages) == 2
    assert serving.replay(first.pk).same


def test_a_promotion_while_requests_run_disturbs_none_of_them(committed: Options) -> None:
    keeper = champion.keeper_of(committed.storage)
    old = ModelVersion.objects.get()
    listeners = list(ListeningHistory.objects.values_list("user", flat=True).distinct()[:40])
    stop = Event()

    def ask(listener: int) -> list[tuple[str, int]]:
        answers = []
        try:
            while not stop.is_set():
                served = serving.recommend(listener, options=committed, now=NOW)
                answers.append((str(served.arm), len(served.items)))
                # Every request looks: a second passes for the keeper whenever it likes.
                keeper._next_look = 0.0
        finally:
            connection.close()
        return answers

    with ThreadPoolExecutor(4) as threads:
        running = [threads.submit(ask, listener) for listener in listeners[:4]]
        try:
            new = train(committed.storage)
            until_seen(new)
        finally:
            stop.set()
        answers = [answer for one in running for answer in one.result()]

    versions = set(Shelf.objects.values_list("version__label", flat=True))
    assert versions == {old.label, new.label}
    assert {arm for arm, _ in answers} == {"champion"}
    assert {length for _, length in answers} == {20}


def until_seen(version: ModelVersion) -> None:
    """Returns when a list of this version has been served."""
    end = datetime.now(UTC) + timedelta(seconds=60)
    while datetime.now(UTC) < end and not ServedList.objects.filter(version=version).exists():
        pass
