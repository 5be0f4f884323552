"""Incidents about engagement, cohesion and the feed: opened by a problem, resolved when it ends."""

import tracemalloc
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from django.db import connection
from numpy.typing import NDArray

from ingestion.models import Incident, IngestionRun, Song
from recommender.experiments.refresh_limits import why_frozen
from recommender.models import Decision, EngagementDay, ModelVersion, Promotion, TrainingRun
from recommender.monitoring.alerts import (
    check_cohesion,
    check_engagement,
    check_experiments,
    check_feed,
    check_yardstick,
    find_feature_fault,
    read_daily_engagement,
)
from recommender.monitoring.engagement_range import expected_range
from tests.support.builders.experiments import DAY, START, make_experiment, make_version

pytestmark = pytest.mark.django_db


def days(values: list[float], *, listeners: int = 60, of: ModelVersion | None = None, skip: int = 0) -> None:
    """One day of lists for each value; `skip` days lie between the last one and today."""
    serving = of or ModelVersion.objects.get(role="champion")
    first = (START - (len(values) + skip) * DAY).date()
    EngagementDay.objects.bulk_create(
        EngagementDay(version=serving, day=first + place * DAY, lists=listeners, listeners=listeners,
                      engaged=9.0, early=value, early_deviation=1.0)
        for place, value in enumerate(values)
    )  # fmt: skip


def as_array(values: Sequence[float | None]) -> NDArray[np.float64]:
    """The values as a column; NaN for None."""
    return np.array(values, dtype=np.float64)


def crowned(label: str, role: str, at: datetime) -> ModelVersion:
    made = make_version(label, role)
    Promotion.objects.create(promoted=made, reason="It was better.", by="test", at=at)
    return made


def healthy(n: int = 30, seed: int = 1) -> list[float]:
    return [float(value) for value in np.random.default_rng(seed).normal(2.0, 0.15, n).clip(0)]


@pytest.fixture
def champion() -> ModelVersion:
    return crowned("2026w44.1", "champion", START - 60 * DAY)


class TestEngagement:
    @pytest.mark.parametrize("seed", range(20))
    def test_healthy_days_open_no_incident(self, champion: ModelVersion, seed: int) -> None:
        days(healthy(40, seed))

        assert check_engagement(START) == []

    def test_two_bad_days_open_one_and_good_ones_end_it(self, champion: ModelVersion) -> None:
        days([*healthy(), 0.9, 0.8])

        opened = check_engagement(START)

        assert [one.key for one in opened] == ["engagement_deviates"]
        assert (opened[0].facts["verdict"], opened[0].facts["value"]) == ("low", 0.85)
        assert opened[0].facts["days"] == ["2026-10-31", "2026-11-01"]
        EngagementDay.objects.filter(early__lt=1).update(early=2.0)
        assert check_engagement(START + DAY) == []
        assert Incident.objects.get().resolved_at == START + DAY

    @pytest.mark.parametrize("last", [[0.9, 2.0], [2.0, 0.9], [0.9, 4.5]])
    def test_one_odd_day_is_none(self, champion: ModelVersion, last: list[float]) -> None:
        days([*healthy(), *last])

        assert check_engagement(START) == []

    def test_far_too_much_is_as_odd_as_far_too_little(self, champion: ModelVersion) -> None:
        days([*healthy(), 4.5, 4.6])

        assert check_engagement(START)[0].facts["verdict"] == "high"

    def test_in_the_first_fortnight_nothing_is_unusual(self, champion: ModelVersion) -> None:
        days([*healthy(13), 0.1, 0.1])

        assert check_engagement(START) == []

    def test_of_few_listeners_chance_is_no_deviation(self, champion: ModelVersion) -> None:
        days([*[2.0] * 20, 0.9, 0.8], listeners=4)

        assert check_engagement(START) == []

    def test_days_without_lists_are_no_days(self, champion: ModelVersion) -> None:
        days(healthy())
        EngagementDay.objects.filter(day__gte=(START - 2 * DAY).date()).update(lists=0, early=0)

        assert check_engagement(START) == []

    def test_a_day_of_which_a_day_was_not_read_in_yet_is_not_compared(self, champion: ModelVersion) -> None:
        days([*healthy(), 0.9, 0.8])
        EngagementDay.objects.filter(day=(START - DAY).date()).update(early=None)

        assert check_engagement(START) == []

    def test_the_versions_that_served_the_bad_days_are_named_and_not_the_one_that_came_after(
        self, champion: ModelVersion
    ) -> None:
        days([*healthy(), 0.9, 0.8], skip=1)
        ModelVersion.objects.update(role="retired")
        days([2.0], of=crowned("2026w45.1", "champion", START - DAY), skip=0)
        EngagementDay.objects.filter(version__label="2026w45.1").update(early=None)

        assert check_engagement(START)[0].facts["version"] == "2026w44.1"

    def test_two_versions_on_the_day_of_a_promotion_are_one_day(self, champion: ModelVersion) -> None:
        days([*healthy(), 0.9])
        ModelVersion.objects.update(role="retired")
        days([0.7], of=crowned("2026w45.1", "champion", START - DAY), listeners=30)

        assert check_engagement(START) == []
        last = read_daily_engagement((START - DAY).date())
        assert (len(last), last[0].listeners, last[0].versions) == (1, 90, ("2026w44.1", "2026w45.1"))
        assert (last[0].engaged, last[0].deviation) == pytest.approx((0.8333, 1.0044), abs=1e-4)

    def test_what_a_challenger_alone_was_served_to_is_no_day_of_the_service(
        self, champion: ModelVersion
    ) -> None:
        days([*healthy(), 2.0, 2.0])
        days([0.1, 0.1], of=make_version("2026w45.1", "retired"))
        days([0.1, 0.1], of=crowned("2026w46.1", "retired", START + DAY))

        assert check_engagement(START) == []

    @pytest.mark.slow
    @pytest.mark.parametrize("weekend", [0.6, 1.4, 2.0])
    def test_weekends_are_no_incidents(self, champion: ModelVersion, weekend: float) -> None:
        found = 0
        for today in range(14, 60):
            EngagementDay.objects.all().delete()
            values = healthy(60, seed=3)[:today]
            first = START.date() - today * DAY
            for place in range(today):
                if (first + place * DAY).weekday() >= 5:
                    values[place] *= weekend
            days(values[-42:])
            found += len(check_engagement(START))

        assert found == 0

    def test_a_fall_by_a_fifth_is_seen_on_a_large_site_with_busy_weekends(
        self, champion: ModelVersion
    ) -> None:
        values = healthy(42, seed=4)
        for place in range(42):
            day = START.date() - (42 - place) * DAY
            values[place] = (values[place] + 3) / 2.5 * (1.4 if day.weekday() >= 5 else 1.0)
        days([*values[:-2], 0.75 * values[-2], 0.75 * values[-1]], listeners=5_000)

        assert check_engagement(START)[0].facts["verdict"] == "low"

    def test_a_band_needs_a_fortnight(self) -> None:
        assert expected_range([]) is None


class TestCohesion:
    def versions(self, values: list[float]) -> None:
        for place, value in enumerate(values):
            make_version(f"2026w{place + 10}.1", cohesion={"silhouette_macro": value})

    def test_groups_that_fell_apart_open_an_incident(self) -> None:
        self.versions([0.30, 0.31, 0.29, 0.30, 0.31, 0.30, 0.29, 0.30, 0.20])

        opened = check_cohesion(START)
        make_version("2026w19.1", cohesion={"silhouette_macro": 0.30})

        assert (opened[0].kind, opened[0].facts["version"]) == ("cohesion_deviates", "2026w18.1")
        assert check_cohesion(START + DAY) == []
        assert not Incident.objects.filter(resolved_at=None).exists()

    def test_a_candidate_with_less_than_half_of_the_champions_cohesion_opens_an_incident(
        self, champion: ModelVersion
    ) -> None:
        ModelVersion.objects.update(cohesion={"r2": 0.4, "silhouette_macro": 0.2})
        make_version("2026w45.1", cohesion={"r2": 0.03, "silhouette_macro": 0.19})

        opened = check_cohesion(START)

        assert opened[0].facts == {"version": "2026w45.1", "value": 0.19, "mean": 0.2, "low": 0.1}

    @pytest.mark.parametrize(
        "values",
        [
            [0.30] * 8 + [0.28],
            [0.30, 0.31, 0.29, 0.30, 0.31, 0.30, 0.29, 0.30],
            [0.30] * 7 + [0.10],
            [0.1, 0.5, 0.2, 0.4, 0.3, 0.1, 0.5, 0.3, 0.2],
        ],
    )
    def test_a_tenth_less_or_a_short_history_is_no_incident(self, values: list[float]) -> None:
        self.versions(values)

        assert check_cohesion(START) == []


class TestFeed:
    @pytest.mark.parametrize(
        ("fresh", "told"),
        [
            ([0.5] * 30, "all 30 new values are 0.5"),
            ([None] * 25 + [0.1, 0.2, 0.3, 0.4, 0.5], "83% of 30 new values are missing"),
            ([0.1, 0.9] * 10 + [50.0] * 10, "10 of 30 new values are far outside 0.242 to 0.748"),
            ([place / 30 for place in range(30)], ""),
            # A small catalogue: three songs whose values are all 0 are no chance, two equal ones may be.
            ([0.0] * 3, "all 3 new values are 0"),
            ([None] * 5, "100% of 5 new values are missing"),
            ([0.5] * 1, ""),
            ([0.1, 0.1, 0.7], ""),
            ([], ""),
        ],
    )
    def test_constant_empty_and_absurd_values_are_faults(self, fresh: list[float | None], told: str) -> None:
        before: list[float | None] = [place / 100 for place in range(100)]

        assert find_feature_fault(as_array(fresh), as_array(before)) == told

    @pytest.mark.parametrize(
        "worn", [[50.0] * 20, [1e9]], ids=["a fault of last week", "one value of long ago"]
    )
    def test_what_was_absurd_before_does_not_make_it_usual(self, worn: list[float | None]) -> None:
        before: list[float | None] = [place / 100 for place in range(100)]

        assert find_feature_fault(
            as_array([50.0 + place for place in range(30)]), as_array(before + worn)
        ).startswith("30 of 30 new values")

    def test_what_was_always_so_is_no_fault(self) -> None:
        assert find_feature_fault(as_array([0.5] * 30), as_array([0.5] * 100)) == ""
        assert find_feature_fault(as_array([None] * 30), as_array([None] * 50 + [0.1] * 50)) == ""

    def test_zeros_in_the_few_new_songs_of_a_small_catalogue_are_seen_within_a_week(self) -> None:
        def song(pk: int, at: Any, energy: float) -> Song:
            return Song(id=pk, name="S", artist="A", duration=timedelta(minutes=3), created_at=at,
                        updated_at=at, audio_features={"energy": energy})  # fmt: skip

        Song.objects.bulk_create(song(pk, START - 60 * DAY, (pk + 1) / 100) for pk in range(60))
        Song.objects.bulk_create(song(pk, START - (pk - 60) * DAY, 0.0) for pk in range(61, 64))

        assert check_feed(START)[0].facts == {"fault": "all 3 new values are 0", "n": 3}

    def test_a_broken_feature_opens_an_incident_and_names_it(self) -> None:
        def song(pk: int, at: Any, energy: float) -> Song:
            return Song(id=pk, name="S", artist="A", duration=timedelta(minutes=3), created_at=at,
                        updated_at=at, audio_features={"energy": energy, "tempo": 100 + pk})  # fmt: skip

        Song.objects.bulk_create(song(pk, START - 30 * DAY, pk / 100) for pk in range(100))
        Song.objects.bulk_create(song(pk, START - DAY, 0.0) for pk in range(100, 130))

        opened = check_feed(START)

        assert [one.key for one in opened] == ["feed_fault:energy"]
        assert opened[0].facts == {"fault": "all 30 new values are 0", "n": 30}
        for row in Song.objects.filter(pk__gte=100):
            row.audio_features = {"energy": (row.pk - 100) / 30, "tempo": 100 + row.pk}
            row.save()
        assert check_feed(START) == []
        assert not Incident.objects.filter(resolved_at=None).exists()

    @pytest.mark.slow
    def test_all_songs_are_watched_in_eight_bytes_for_each_feature(self) -> None:
        names = ", ".join(f"'f{number}', i * {number} %% 97 / 97.0" for number in range(12))
        columns = "name, artist, songwriters, album, genres, duration, created_at, updated_at"
        statement = (
            f"INSERT INTO songs (id, {columns}, audio_features) "  # noqa: S608
            "SELECT i, 'S', 'A', '', '', '', interval '3 minutes', %s, %s, "
            f"jsonb_build_object({names}) FROM generate_series(1, 20000) i"
        )
        with connection.cursor() as cursor:
            cursor.execute(statement, [START - 60 * DAY] * 2)

        tracemalloc.start()
        try:
            assert check_feed(START) == []
            needed = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

        # One feature's values are copied at a time. 5 000 songs are Python objects: 10 MB.
        assert needed < 20_000 * 200 + 12e6, needed


class TestExperiments:
    def open_kinds(self, now: datetime) -> list[tuple[str, str]]:
        check_experiments(now)
        return list(Incident.objects.filter(resolved_at=None).values_list("kind", "severity"))

    def test_an_experiment_that_ended_badly_is_reported_until_the_next_daily_review(self) -> None:
        make_experiment(status="ended", outcome="invalid", ended_at=START, reason="Too many lists.")

        assert self.open_kinds(START) == [("experiment_invalid", "warning")]
        assert self.open_kinds(START + DAY) == []

    def test_a_version_that_a_holdback_beat_is_reported_until_the_next_daily_review(self) -> None:
        test = make_experiment("anchor", status="ended", outcome="rollback", ended_at=START)
        promotion = Promotion.objects.create(
            promoted=test.challenger, replaced=test.champion, rollback=True, reason="Worse.", by="test",
            at=START,
        )  # fmt: skip
        Decision.objects.create(
            experiment=test, promotion=promotion, at=START, evidence={}, rules={}, verdict={},
            outcome="rollback", final=True,
        )  # fmt: skip

        assert self.open_kinds(START) == [("rolled_back", "critical")]
        assert self.open_kinds(START + DAY) == []


class TestYardstick:
    def trained(self, number: int, difference: float, at: datetime) -> ModelVersion:
        lead = {
            "difference": difference,
            "low": difference - 0.004,
            "high": difference + 0.004,
            "listeners": 60,
        }
        return make_version(
            f"2026w{number}.1", created_at=at, metrics={"against_baselines": {"rp3beta": lead}}
        )

    def test_a_lead_over_rp3beta_that_falls_opens_an_incident_and_freezes_refreshes(self) -> None:
        for week in range(4):
            self.trained(20 + week, 0.05, START + 7 * week * DAY)
        for week in range(4, 8):
            self.trained(20 + week, 0.01, START + 7 * week * DAY)
        make_version("2026w10.1", created_at=START)

        before = check_yardstick(START + 48 * DAY)
        opened = check_yardstick(START + 49 * DAY)

        assert before == []
        assert opened[0].facts == {"value": 0.01, "best": 0.05, "version": "2026w20.1"}
        assert why_frozen(START + 50 * DAY) == "new versions lost their lead over RP3beta on 2026-12-21."
        assert why_frozen(START + 200 * DAY) == why_frozen(START + 50 * DAY)
        for week in range(8, 12):
            self.trained(20 + week, 0.05, START + 7 * week * DAY)
        assert check_yardstick(START + 80 * DAY) == []
        assert not Incident.objects.filter(kind="yardstick_fell", resolved_at=None).exists()

    def fall(self) -> None:
        for week in range(8):
            self.trained(20 + week, 0.05 if week < 4 else 0.01, START + 7 * week * DAY)

    def test_a_full_training_starts_the_comparison_anew(self) -> None:
        self.fall()
        check_yardstick(START + 49 * DAY)
        at = START + 50 * DAY
        TrainingRun.objects.create(
            trigger="schedule", status="succeeded", full=True, version=self.trained(40, 0.01, at),
            started_at=at, pid=1, heartbeat_at=at, finished_at=at, host="h", process_started=0.0,
        )  # fmt: skip

        assert check_yardstick(at) == []
        assert not Incident.objects.filter(kind="yardstick_fell", resolved_at=None).exists()

    def test_versions_on_an_earlier_catalogue_are_not_compared(self) -> None:
        self.fall()
        at = START + 27 * DAY
        IngestionRun.objects.create(
            trigger="command", status="succeeded", new_catalogue=True, started_at=at, heartbeat_at=at,
            finished_at=at, pid=1, host="h", process_started=0.0,
        )  # fmt: skip

        assert check_yardstick(START + 49 * DAY) == []
