"""Retraining and experiments on special days: no traffic, deleted listeners, changed clocks, 25 hours."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from ingestion.models import Incident, IngestionRun, Listener, ListeningHistory
from recommender import retraining, schedules
from recommender.experiments import decisions, interleaving_scores, lifecycle, statistics
from recommender.models import (
    Decision,
    EngagedList,
    EngagementDay,
    Experiment,
    Exposure,
    Feedback,
    ModelVersion,
    Promotion,
    ScoredList,
    ServedList,
)
from recommender.monitoring import health_checks
from recommender.monitoring.drift_reports import last_full_week
from recommender.registry import registry
from tests.support.builders.experiments import (
    DAY,
    START,
    make_experiment,
    make_healthy_feed,
    make_import,
    make_interleaved_list,
    make_listeners_and_songs,
)

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
TEAMS = [False, True]


@pytest.fixture
def at_work() -> Experiment:
    make_listeners_and_songs()
    return make_experiment(list_share=1.0)


def sound(one: ModelVersion) -> None:
    """Accept every artifact."""


def serve(test: Experiment, at: datetime, listener: int = 1) -> ServedList:
    served = make_interleaved_list(test, listener, at, [10, 11], TEAMS)
    interleaving_scores.open_scored_list(served, test, TEAMS)
    return served


def played(song: int, at: datetime, listener: int = 1) -> None:
    ListeningHistory.objects.create(user_id=listener, items=[song], created_at=at, updated_at=at)


def counted() -> tuple[Any, ...]:
    """All counts of the daily review that could change."""
    return (
        list(ScoredList.objects.order_by("pk").values_list("day", "wins", "losses", "closed_at")),
        list(EngagedList.objects.order_by("pk").values_list("engaged", "listens", "final")),
        list(EngagementDay.objects.order_by("pk").values_list("day", "lists", "engaged", "final")),
    )


class TestNoTraffic:
    @pytest.mark.parametrize(("kind", "days"), [("refresh", 6), ("refresh", 13), ("change", 21),
                                                ("change", 59), ("equals", 13), ("anchor", 20)])  # fmt: skip
    def test_without_traffic_an_experiment_waits_and_opens_no_incident(
        self, at_work: Experiment, kind: str, days: int
    ) -> None:
        Experiment.objects.update(kind=kind)
        make_healthy_feed(START + days * DAY)

        judged = retraining.run_daily_review(START + days * DAY, sound)

        assert [one.decision.outcome for one in judged if one.decision] == ["waiting"]
        assert not Incident.objects.exists()

    def test_a_refresh_without_traffic_is_decided_by_its_gates_at_the_deadline(
        self, at_work: Experiment
    ) -> None:
        Experiment.objects.update(kind="refresh", gates={"passed": True})
        make_healthy_feed(START + 14 * DAY)

        retraining.run_daily_review(START + 14 * DAY, sound)

        reason = Experiment.objects.exclude(kind="anchor").get().reason
        assert reason.startswith("Too few to tell (0 rounds won, 0 lost by 0 listeners)")


class TestDeletedListener:
    @pytest.fixture
    def decided(self, at_work: Experiment) -> Decision:
        """Two listeners are served and play, and the experiment's evidence is evaluated."""
        for listener in (1, 2):
            served = serve(at_work, START, listener)
            played(11, START + HOUR, listener)
            Exposure.objects.create(experiment=at_work, listener_id=listener, arm="champion", first_at=START)
            Feedback.objects.create(
                event_id=str(listener), listener_id=listener, song_id=11, kind="like",
                served_list=served, at=START + HOUR, received_at=START + HOUR,
            )  # fmt: skip
        make_import(START + 2 * DAY)
        retraining.run_daily_review(START + 2 * DAY + HOUR, sound)
        return Decision.objects.get()

    def delete(self, listener: int = 1) -> None:
        """Delete a listener and their sessions, as on a request to be forgotten."""
        ListeningHistory.objects.filter(user=listener).delete()
        Listener.objects.get(pk=listener).delete()

    def test_their_rows_are_deleted_and_the_experiment_continues(
        self, decided: Decision, at_work: Experiment
    ) -> None:
        before = statistics.gather_evidence(at_work, START + 3 * DAY)[0]

        self.delete()
        judged = retraining.run_daily_review(START + 3 * DAY, sound)

        left = statistics.gather_evidence(at_work, START + 3 * DAY)[0]
        assert list(of_listener(1)) == []
        assert (before.listeners, before.wins) == (2, 2)
        assert (left.listeners, left.wins) == (1, 1)
        assert [one.decision.outcome for one in judged if one.decision] == ["waiting"]

    def test_an_earlier_decision_is_recomputed_the_same_and_reports_missing_lists(
        self, decided: Decision, capsys: pytest.CaptureFixture[str]
    ) -> None:
        whole = decisions.replay_decision(decided)

        self.delete()
        replayed = decisions.replay_decision(decided)
        with pytest.raises(CommandError, match="rows: wins is 1 by today's rows, but 2 in the evidence"):
            call_command("explaindecision", str(decided.pk))

        told = capsys.readouterr().out
        assert (whole.same, whole.differences) == (True, [])
        assert (replayed.same, replayed.data_changed) == (True, True)
        assert "Recomputed from this evidence, the decision is the same, byte for byte." in told
        assert "because a listener was deleted" in told

    def test_a_listener_who_only_left_the_source_still_counts(
        self, decided: Decision, at_work: Experiment
    ) -> None:
        Listener.objects.filter(pk=1).update(unavailable_at=START + DAY)

        numbers, _ = statistics.gather_evidence(at_work, START + 3 * DAY)

        assert (numbers.listeners, numbers.wins) == (2, 2)


def of_listener(pk: int) -> Iterator[object]:
    """Every row of the recommender that names a listener."""
    for model in apps.get_app_config("recommender").get_models():
        for field in model._meta.get_fields():
            if field.is_relation and field.related_model is Listener and field.concrete:
                yield from model._default_manager.filter(**{field.name: pk})


class TestClocks:
    def test_a_clock_set_back_counts_no_list_twice_and_reopens_none(self, at_work: Experiment) -> None:
        now = START + 8 * DAY
        serve(at_work, START)
        played(11, START + HOUR)
        make_import(now)
        retraining.run_daily_review(now + HOUR, sound)
        before = counted()

        serve(at_work, START - HOUR)
        played(10, START + 2 * HOUR)
        back = retraining.run_daily_review(now, sound)
        retraining.run_daily_review(now + HOUR, sound)

        # The list that the clock put before the other one is another list, which counts for no day.
        after = counted()
        assert before[0] == [(START.date(), 1, 0, now + HOUR)]
        assert after[0] == before[0]
        assert after[1][:1] == before[1]
        assert [one.decision.outcome for one in back if one.decision] == ["waiting"]

    def test_an_experiment_that_starts_in_the_future_has_lasted_0_days(self, at_work: Experiment) -> None:
        judged = retraining.run_daily_review(START - HOUR, sound)

        told = judged[0].decision
        assert told is not None
        assert (told.outcome, told.evidence["days"]) == ("waiting", 0)

    def test_a_clock_set_back_does_not_renew_the_holdback(self, at_work: Experiment) -> None:
        champion = ModelVersion.objects.get(role="champion")
        old = ModelVersion.objects.get(role="challenger")
        for version, days in ((old, 60), (champion, 30)):
            Promotion.objects.create(promoted=version, reason="x", by="test", at=START - days * DAY)
        anchor = lifecycle.renew_holdback(START - 10 * DAY)
        assert anchor is not None

        again = lifecycle.renew_holdback(START - 10 * DAY - HOUR)

        assert (again, anchor.challenger) == (anchor, old)
        assert registry.champion_at(START - 100 * DAY) is None

    def test_plays_from_before_a_list_and_from_the_future_do_not_count(self, at_work: Experiment) -> None:
        now = START + 2 * DAY
        serve(at_work, START)
        played(11, START - timedelta(seconds=1))
        played(10, START + 30 * DAY)
        make_import(now)

        retraining.run_daily_review(now + HOUR, sound)

        assert ScoredList.objects.values_list("wins", "losses").get() == (0, 0)
        assert EngagedList.objects.get().engaged == 0

    def test_an_ingestion_that_began_in_the_future_closes_nothing_until_then(
        self, at_work: Experiment
    ) -> None:
        serve(at_work, START)
        run = make_import(START + 2 * DAY + HOUR)

        early = interleaving_scores.close_due_lists(START + 2 * DAY)
        late = interleaving_scores.close_due_lists(START + 2 * DAY + HOUR)

        assert (early, late) == (0, 1)
        assert IngestionRun.objects.get() == run

    def test_a_version_trained_in_the_future_is_not_stale(self, at_work: Experiment) -> None:
        health_checks.model_stale(START - HOUR)

        assert not Incident.objects.exists()


class TestDayOfTwentyFiveHours:
    """The night of 25 October 2026 in Paris: 02:00 to 03:00 comes twice."""

    SATURDAY = datetime(2026, 10, 24, 20, tzinfo=UTC)

    def ran(self, name: str) -> list[str]:
        """The local times at which Beat, checking every five minutes, starts an entry until Monday noon."""
        schedule = PeriodicTask.objects.get(task=f"recommender.tasks.{name}").schedule
        now, last, found = self.SATURDAY, self.SATURDAY - HOUR, []
        while now < self.SATURDAY + 40 * HOUR:
            schedule.nowfun = lambda at=now: at.astimezone(ZoneInfo("Europe/Paris"))
            if schedule.is_due(last).is_due:
                found.append(now.astimezone(ZoneInfo("Europe/Paris")).strftime("%a %H:%M %Z"))
                last = now
            now += timedelta(minutes=5)
        return found

    def test_each_entry_runs_once_a_day_or_week(self) -> None:
        schedules.sync_timetable("Europe/Paris")

        assert self.ran("learn_weekly") == ["Sun 04:00 CET"]
        assert self.ran("look_daily") == ["Sun 05:00 CET", "Mon 05:00 CET"]
        # Of the week that ended in UTC.
        assert self.ran("check_drift") == ["Mon 07:00 CET"]

    def test_an_entry_in_the_repeated_hour_runs_once(self) -> None:
        schedules.sync_timetable("Europe/Paris")
        entry = PeriodicTask.objects.get(task="recommender.tasks.learn_weekly")
        entry.crontab.hour, entry.crontab.minute = "2", "30"
        entry.crontab.save()

        assert self.ran("learn_weekly") == ["Sun 02:30 CEST"]

    def test_lists_count_for_their_day_in_utc_and_the_weeks_do_not_move(self, at_work: Experiment) -> None:
        moments = [datetime(2026, 10, day, hour, 30, tzinfo=UTC) for day in (24, 25) for hour in (0, 1, 22)]
        Experiment.objects.update(started_at=moments[0])
        with timezone.override("Europe/Paris"):
            for at in moments:
                serve(at_work, at)
            make_import(moments[-1] + 7 * DAY)
            retraining.run_daily_review(moments[-1] + 7 * DAY + HOUR, sound)
            coins = statistics.allocation_checks(Experiment.objects.get(kind="change"), moments[-1])
            monday = last_full_week(datetime(2026, 11, 1, 23, 30, tzinfo=UTC))

        days = [date(2026, 10, 24), date(2026, 10, 25)]
        assert list(ScoredList.objects.order_by("day").values_list("day", flat=True)) == days
        assert ScoredList.objects.filter(closed_at=None).count() == 0
        assert sorted(EngagementDay.objects.values_list("day", flat=True)) == days
        assert (coins[0].inside + coins[0].outside, monday) == (2, date(2026, 10, 19))
