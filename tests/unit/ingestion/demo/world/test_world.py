"""The synthetic world is plausible, reproducible, and advances day by day."""

import hashlib
import json
import subprocess
import sys
from collections import Counter, defaultdict
from datetime import date, datetime

import numpy as np
import pytest

from ingestion.demo.source import RESOURCES, Row, Table
from ingestion.demo.world.styles import FEATURES, STYLES
from ingestion.demo.world.world import World
from ingestion.source.schemas import SCHEMAS, RejectedRow, RowValidator

FINGERPRINT = """
import hashlib, json
from ingestion.demo.world.world import World
world = World(seed=3, songs=120, listeners=25, days=6)
rows = [world.rows(resource) for resource in ("tracks", "users", "listen_history")]
print(hashlib.sha256(json.dumps(rows).encode()).hexdigest())
"""


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def small(*, seed: int = 3, days: int = 6) -> World:
    return World(seed=seed, songs=120, listeners=25, days=days)


def by_key(rows: Table, *names: str) -> dict[tuple[object, ...], Row]:
    return {tuple(row[name] for name in names): row for row in rows}


def test_the_world_is_as_large_as_asked_for_on_its_first_day() -> None:
    world = World(songs=300, listeners=40, days=1)

    assert (len(world.rows("tracks")), len(world.rows("users"))) == (300, 40)
    assert world.today == date(2026, 1, 1)


def test_another_process_makes_the_same_world() -> None:
    rows = [small().rows(resource) for resource in RESOURCES]
    ours = hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    theirs = subprocess.run([sys.executable, "-c", FINGERPRINT], capture_output=True, text=True, check=True)

    assert theirs.stdout.strip() == ours


def test_another_seed_makes_another_world() -> None:
    assert small().rows("tracks") != small(seed=4).rows("tracks")


def test_a_day_does_not_depend_on_how_it_was_reached() -> None:
    walked = small(days=1)
    walked.advance(2)
    walked.advance(3)

    assert walked.today == small().today
    assert [walked.rows(r) for r in RESOURCES] == [small().rows(r) for r in RESOURCES]


def test_every_row_of_every_resource_is_accepted_by_the_ingestion(world: World) -> None:
    for schema in SCHEMAS:
        rows = world.rows(schema.path[1:])

        records = RowValidator(schema).validate_rows(rows)

        assert not [record for record in records if isinstance(record, RejectedRow)]
        assert len({schema.row_key(row) for row in rows}) == len(rows)


def test_ids_look_random_and_every_session_names_a_listener_who_is_there(world: World) -> None:
    songs = [row["id"] for row in world.rows("tracks")]
    listeners = {row["id"] for row in world.rows("users")}

    assert max(songs) > 90_000
    assert songs != sorted(songs)
    assert {row["user_id"] for row in world.rows("listen_history")} <= listeners


@pytest.mark.parametrize("resource", ["tracks", "users"])
def test_a_quarter_of_the_rows_was_updated_before_it_was_created(world: World, resource: str) -> None:
    rows = world.rows(resource)

    share = sum(row["updated_at"] < row["created_at"] for row in rows) / len(rows)

    assert 0.18 < share < 0.32


def test_sessions_are_updated_after_they_begin_and_nothing_lies_in_the_future(world: World) -> None:
    end = f"{world.today}T23:59:59.999999"

    assert all(row["created_at"] <= row["updated_at"] for row in world.rows("listen_history"))
    assert all(
        row[name] <= end for r in RESOURCES for row in world.rows(r) for name in ("created_at", "updated_at")
    )


def test_songs_of_one_artist_sound_alike(world: World) -> None:
    rows = [row for row in world.rows("tracks") if row["audio_features"]]
    rows = [row for row in rows if None not in row["audio_features"].values()]
    values = np.array([[row["audio_features"][name] for name in FEATURES] for row in rows])
    artists: dict[str, list[int]] = defaultdict(list)
    for at, row in enumerate(rows):
        artists[row["artist"]].append(at)

    within = np.mean([values[at].var(axis=0) for at in artists.values() if len(at) > 4], axis=0)

    assert np.all(within < 0.75 * values.var(axis=0))
    assert within[FEATURES.index("energy")] < 0.25 * values[:, FEATURES.index("energy")].var()


def test_an_album_belongs_to_one_artist_and_year_and_an_artist_to_one_style(world: World) -> None:
    styles: dict[str, set[str]] = defaultdict(set)
    names = Counter((row["artist"], row["name"]) for row in world.rows("tracks"))
    for row in world.rows("tracks"):
        styles[row["artist"]].add(world.style_of(row["id"]))

    assert {len(found) for found in styles.values()} == {1}
    assert set(names.values()) == {1}
    assert {style for found in styles.values() for style in found} == set(World.styles)


def test_some_songs_were_not_measured_or_not_wholly(world: World) -> None:
    features = [row["audio_features"] for row in world.rows("tracks")]

    missing = sum(one is None for one in features)
    partly = sum(one is not None and None in one.values() for one in features)

    assert 10 < missing < 60
    assert 5 < partly < 50


def test_few_songs_and_few_listeners_make_most_of_the_plays(world: World) -> None:
    history = world.rows("listen_history")
    plays = sorted(Counter(song for row in history for song in row["items"]).values(), reverse=True)
    sessions = sorted(Counter(row["user_id"] for row in history).values(), reverse=True)

    assert sum(plays[:100]) > 0.4 * sum(plays)
    assert sum(sessions[:40]) > 0.4 * sum(sessions)


def test_listeners_play_what_they_like_and_say_so(world: World) -> None:
    plays: dict[int, Counter[str]] = defaultdict(Counter)
    for row in world.rows("listen_history"):
        plays[row["user_id"]].update(world.style_of(song) for song in row["items"])
    keen = {listener: counts for listener, counts in plays.items() if counts.total() > 60}
    favourites = {row["id"]: row["favorite_genres"].split(", ") for row in world.rows("users")}

    correlations = [
        np.corrcoef(world.taste_of(one), [counts[name] for name in World.styles])[0, 1]
        for one, counts in keen.items()
    ]
    agreed = [counts.most_common(1)[0][0] in favourites[one] for one, counts in keen.items()]

    assert len(keen) > 50
    assert np.median(correlations) > 0.95
    assert np.mean(agreed) > 0.85


def test_listeners_come_back_to_songs_they_played(world: World) -> None:
    sessions: dict[int, list[Row]] = defaultdict(list)
    for row in world.rows("listen_history"):
        sessions[row["user_id"]].append(row)
    keenest = max(sessions.values(), key=len)
    played = Counter(song for row in keenest for song in row["items"])

    assert all(len(set(row["items"])) == len(row["items"]) for row in keenest)
    assert sum(count > 1 for count in played.values()) > 0.3 * len(played)


def test_the_truth_is_a_probability_that_follows_taste(world: World) -> None:
    listener = world.rows("users")[0]["id"]
    songs = [row["id"] for row in world.rows("tracks")]
    chances = world.play_probabilities(listener)
    by_style: Counter[str] = Counter()
    for song, chance in chances.items():
        by_style[world.style_of(song)] += chance  # type: ignore[assignment]

    favourite = World.styles[int(np.argmax(world.taste_of(listener)))]

    assert sum(chances.values()) == pytest.approx(1.0)
    assert list(chances) == songs
    assert max(by_style, key=lambda name: by_style[name]) == favourite
    assert world.style_of(songs[int(np.argmax(world.style_affinity(listener, songs)))]) == favourite
    assert world.taste_of(listener).sum() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("resource", "key"),
    [("tracks", ("id",)), ("users", ("id",)), ("listen_history", ("user_id", "created_at"))],
)
def test_a_day_brings_new_changed_and_gone_rows_and_leaves_the_rest(
    resource: str, key: tuple[str, ...]
) -> None:
    world = World(songs=400, listeners=60, days=4)
    before = by_key(world.rows(resource), *key)
    world.advance()
    after = by_key(world.rows(resource), *key)

    kept = before.keys() & after.keys()
    changed = [name for name in kept if before[name] != after[name]]

    assert after.keys() - before.keys()
    assert before.keys() - after.keys()
    assert 1 <= len(changed) <= 5
    assert all(after[name]["updated_at"].startswith("2026-01-05T") for name in changed)
    assert [name for name in before if name in kept] == [name for name in after if name in kept]


def test_a_snapshot_stays_as_it_was_while_the_world_goes_on() -> None:
    world = small()
    snapshot = world.snapshot()
    copy = json.dumps([snapshot.tables[r] for r in RESOURCES])

    world.advance()

    assert json.dumps([snapshot.tables[r] for r in RESOURCES]) == copy
    assert world.snapshot().version != snapshot.version


def test_a_new_catalogue_puts_other_songs_and_listeners_under_the_old_ids() -> None:
    world = small()
    before = by_key(world.rows("tracks"), "id")
    listeners = by_key(world.rows("users"), "id")

    world.new_catalogue()

    after = by_key(world.rows("tracks"), "id")
    both = before.keys() & after.keys()
    same = [
        key
        for key in both
        if (before[key]["name"], before[key]["artist"]) == (after[key]["name"], after[key]["artist"])
    ]
    assert len(both) > 100
    assert same == []
    assert world.today == date(2026, 1, 6)
    emails = {row["email"] for row in listeners.values()}
    assert sum(row["email"] in emails for row in world.rows("users")) <= 1


def test_a_recorded_session_is_served_and_remembered() -> None:
    world = small()
    listener, song = world.rows("users")[0]["id"], world.rows("tracks")[0]["id"]

    world.record_session(listener, [song], datetime(2026, 1, 7, 9, 30))  # noqa: DTZ001

    assert world.rows("listen_history")[-1] == {
        "user_id": listener,
        "items": [song],
        "created_at": "2026-01-07T09:30:00.000000",
        "updated_at": "2026-01-07T09:30:00.000000",
    }
    with pytest.raises(KeyError):
        world.record_session(-1, [song], datetime(2026, 1, 7))  # noqa: DTZ001


def test_a_world_can_end_on_a_given_day() -> None:
    world = World.ending_on(date(2026, 11, 22), songs=50, listeners=5, days=10)

    assert (world.start, world.today, world.day_number) == (date(2026, 11, 13), date(2026, 11, 22), 9)


@pytest.mark.parametrize("songs", [1, 5, 12])
def test_the_smallest_worlds_live(songs: int) -> None:
    world = World(songs=songs, listeners=1, days=3)

    assert len(world.rows("tracks")) >= songs


def test_a_world_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one song"):
        World(songs=0)


def test_the_styles_are_twelve_and_fill_the_whole() -> None:
    assert len(STYLES) == 12
    assert sum(style.share for style in STYLES) == pytest.approx(1.0)
    assert {len(style.centre) for style in STYLES} == {9}


def test_no_listener_who_leaves_a_small_world_takes_a_large_part_of_its_history_along() -> None:
    world = World(seed=2, songs=40, listeners=22, days=40, proportional_changes=True)
    lost = []

    for _ in range(120):
        before = {(row["user_id"], row["created_at"]) for row in world.rows("listen_history")}
        world.advance()
        after = {(row["user_id"], row["created_at"]) for row in world.rows("listen_history")}
        lost.append(len(before - after) / len(before))

    assert 0.01 < max(lost) < 0.06
