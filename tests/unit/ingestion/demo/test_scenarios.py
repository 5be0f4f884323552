"""Scenario files are parsed, and their events change the demo source."""

import json
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

import moovitamix
from ingestion.demo.scenarios import (
    EVENT_DEFAULTS,
    ScenarioSource,
    describe_events,
    parse_last_day,
    parse_scenario,
)
from ingestion.demo.world.reactions import draw_reactions, draw_visits, rng_for_day
from ingestion.demo.world.world import World

USUAL = Path(moovitamix.__file__).parent / "scenarios" / "usual.json"


def world(days: int = 20) -> World:
    return World.ending_on(
        date(2026, 11, 1), seed=3, songs=200, listeners=30, days=days, proportional_changes=True
    )


class TestScenarios:
    def test_the_usual_one_plants_its_events_once(self) -> None:
        events = parse_scenario(USUAL.read_bytes(), weeks=12)

        assert sorted(event.kind for event in events) == [
            "better", "drift", "feed", "outage", "reset", "worse"
        ]  # fmt: skip

    def test_the_bundled_ones_plant_events_of_every_kind(self) -> None:
        planted = [
            event for file in USUAL.parent.glob("*.json")
            for event in parse_scenario(file.read_bytes(), weeks=12)
        ]  # fmt: skip

        assert {event.kind for event in planted} == set(EVENT_DEFAULTS)
        assert all(event.description for event in planted)

    def test_a_slow_drift_reaches_its_weight_after_its_weeks(self) -> None:
        (event,) = parse_scenario('{"events": [{"event": "drift", "week": 2, "weeks": 4}]}', weeks=12)

        weights = [event.weekly_weight(day) for day in range(60)]

        assert [day for day, weight in enumerate(weights) if weight] == [7, 14, 21, 28]
        assert 1 - np.prod([1 - weight for weight in weights]) == pytest.approx(0.6)
        assert event.description == "tastes move towards Metal and Punk over 4 weeks"

    def test_the_last_day_is_a_sunday(self) -> None:
        assert parse_last_day('{"events": [], "last_day": "2021-01-24"}') == date(2021, 1, 24)
        assert parse_last_day('{"events": []}') is None
        with pytest.raises(ValueError, match="must be a Sunday"):
            parse_last_day('{"events": [], "last_day": "2021-01-25"}')

    def test_events_are_in_order_and_those_after_the_end_are_left_out(self) -> None:
        text = json.dumps(
            {
                "events": [
                    {"event": "outage", "week": 2, "day": 3, "days": 2},
                    {"event": "drift", "week": 1, "styles": ["Jazz"]},
                    {"event": "worse", "week": 3},
                ]
            }
        )

        first, second = parse_scenario(text, weeks=2)

        assert (first.kind, first.first_day, first.days, first.description) == (
            "drift", 0, 0, "tastes move towards Jazz",
        )  # fmt: skip
        assert (second.first_day, second.begins_on(9), second.ends_on(11), second.ends_on(10)) == (
            9,
            True,
            True,
            False,
        )

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("nonsense", "this is not a scenario"),
            ("[]", "this is not a scenario"),
            ('{"events": [7]}', "unknown event 7"),
            ('{"events": [{"event": "outage", "week": 1, "day": 8}]}', "a day from 1"),
            ('{"events": [{"event": "outage", "week": 1, "days": 0}]}', "days must be a whole"),
            ('{"events": [{"event": "feed", "week": 1, "feature": "charm"}]}', "the features are"),
            ('{"events": [{"event": "drift", "week": 1, "styles": ["Polka"]}]}', "the styles are"),
            ('{"events": [{"event": "drift", "week": 1, "weight": 2}]}', "the weight must be"),
            ('{"events": [{"event": "worse", "week": 1, "days": 2}]}', "expected a week"),
        ],
    )
    def test_an_invalid_scenario_is_refused_with_a_list_of_what_exists(self, text: str, said: str) -> None:
        with pytest.raises(ValueError, match=said):
            parse_scenario(text, weeks=12)

    def test_every_event_is_described(self) -> None:
        assert [line.split()[0] for line in describe_events().splitlines()] == list(EVENT_DEFAULTS)


class TestPlantedSource:
    def test_with_nothing_planted_it_serves_the_worlds_own_rows(self) -> None:
        lived = world()

        assert ScenarioSource(lived).snapshot().tables == lived.snapshot().tables

    def test_a_broken_feature_is_in_new_and_changed_songs_alone_until_it_is_mended(self) -> None:
        lived = world()
        source = ScenarioSource(lived)
        whole = {row["id"]: row for row in lived.rows("tracks")}
        source.break_feature("energy", None, date(2026, 10, 26))

        served = list(source.snapshot().tables["tracks"])
        source.restore_features()

        odd = [row for row in served if row != whole[row["id"]]]
        assert odd
        assert all(row["audio_features"]["energy"] is None for row in odd)
        assert all(max(row["created_at"], row["updated_at"]) >= "2026-10-26" for row in odd)
        assert list(source.snapshot().tables["tracks"]) == list(whole.values())

    def test_a_reset_gives_known_ids_to_others_until_the_source_comes_back(self) -> None:
        lived = world()
        source = ScenarioSource(lived)
        names = {row["id"]: row["name"] for row in lived.rows("tracks")}
        source.new_catalogue()

        strangers = source.snapshot().tables["tracks"]
        shared = [row for row in strangers if row["id"] in names]
        source.restore_catalogue()

        assert len(shared) > 150
        assert sum(row["name"] != names[row["id"]] for row in shared) > 140
        assert source.snapshot().tables == lived.snapshot().tables

    def test_late_sessions_are_left_out_but_what_was_sent_before_stays(self) -> None:
        lived = world()
        source = ScenarioSource(lived)
        sent = len(source.snapshot().tables["listen_history"])
        source.delay_history(2)
        for _ in range(3):
            lived.advance()

        late = source.snapshot().tables["listen_history"]
        source.delay_history(0)

        until = f"{lived.today - timedelta(days=1)}"
        assert len(late) > sent
        assert max(row["created_at"] for row in late) < until
        assert source.snapshot().tables == lived.snapshot().tables

    def test_each_change_of_what_is_served_has_a_version_of_its_own(self) -> None:
        source = ScenarioSource(world())
        versions = [source.snapshot().version]

        source.break_feature("energy", 0.5, date(2026, 10, 1))
        versions.append(source.snapshot().version)
        source.restore_features()
        versions.append(source.snapshot().version)

        assert len(set(versions)) == 3


class TestCalmWorld:
    def test_as_many_come_and_go_as_the_shares_say(self) -> None:
        usual = World(seed=3, songs=200, listeners=30, days=60)
        calm = World(seed=3, songs=200, listeners=30, days=60, proportional_changes=True)

        # 59 days: one a day where it must be one; 0.6 % of 30, which is one in five or six days.
        assert len(usual.rows("users")) >= 30
        assert 35 <= len(calm.rows("users")) <= 50
        assert len(calm.snapshot().tables["users"]) != len(usual.snapshot().tables["users"])

    def test_after_a_fad_listeners_want_what_they_wanted_before(self) -> None:
        lived = world()
        listener = lived.rows("users")[0]["id"]
        before, saved = lived.taste_of(listener), lived.copy_tastes()

        lived.shift_tastes(["Jazz"], 0.6)
        lived.restore_tastes(saved)

        assert lived.taste_of(listener) == pytest.approx(before)

    def test_tastes_move_towards_the_styles_named(self) -> None:
        lived = world()
        listener = lived.rows("users")[0]["id"]
        before = lived.taste_of(listener)
        lived.shift_tastes(["Jazz", "Metal"], 0.6)

        after = lived.taste_of(listener)

        at = [lived.styles.index(name) for name in ("Jazz", "Metal")]
        assert after.sum() == pytest.approx(1)
        assert after[at] == pytest.approx(0.4 * before[at] + 0.3)
        with pytest.raises(ValueError, match="which styles"):
            lived.shift_tastes([], 0.5)


class TestVisitors:
    def test_about_two_thirds_come_in_order_of_time_and_nobody_twice(self) -> None:
        lived = world()

        days = [draw_visits(lived, rng_for_day(7, day)) for day in range(40)]

        who = [listener for listener, _ in days[0]]
        assert len(set(who)) == len(who)
        assert [at for _, at in days[0]] == sorted(at for _, at in days[0])
        assert sum(map(len, days)) / 40 == pytest.approx(0.65 * len(lived.rows("users")), rel=0.1)
        assert draw_visits(lived, rng_for_day(7, 0)) == days[0]

    def test_something_comes_of_songs_to_the_taste_more_often(self) -> None:
        lived = world()
        songs = [row["id"] for row in lived.rows("tracks")]
        listener = lived.rows("users")[0]["id"]
        liked = lived.style_affinity(listener, songs)
        rng = np.random.default_rng(1)

        found = [one for _ in range(200) for one in draw_reactions(lived, listener, songs, rng)]

        engaged = [songs.index(one.song) for one in found if one.kind != "skip"]
        skipped = [songs.index(one.song) for one in found if one.kind == "skip"]
        assert liked[engaged].mean() > 2 * liked[skipped].mean()
        assert {one.kind for one in found} == {"like", "listen", "skip"}
        assert all((one.seconds is not None) == (one.kind == "listen") for one in found)
