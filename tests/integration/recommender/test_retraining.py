"""The retraining cycle on a small catalogue: training, gates, experiment, drift, and their commands."""

import json
import shutil
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import current_app
from django.core.management import CommandError, call_command
from django.db import transaction
from django_celery_beat.models import PeriodicTask

from ingestion.models import Incident
from recommender import retraining, schedules, tasks, validation
from recommender.engine import artifact
from recommender.engine.sampling.candidate_codec import CandidateArrays
from recommender.experiments import assignment, lifecycle
from recommender.listener_profiles import ListenerProfile
from recommender.models import Decision, DriftReport, Experiment, ModelVersion, Promotion, TrainingRun
from recommender.monitoring import alerts
from recommender.registry import registry
from recommender.serving.candidates.candidates import generate_block
from recommender.training.train import TrainingOptions
from tests.support.builders.experiments import make_healthy_feed
from tests.support.builders.recommendations import RECOMMENDED_AT

Out = pytest.CaptureFixture[str]
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _at_home(storage: Path, settings: Any) -> Iterator[None]:
    settings.MODEL_STORAGE = storage
    assignment.RUNNING_EXPERIMENTS.invalidate()
    yield
    assignment.RUNNING_EXPERIMENTS.invalidate()


def verified(storage: Path) -> registry.Verify:
    return lambda one: artifact.verify_files(storage / one.label, one.artifact_sha256)


def cycle(
    storage: Path, *, seed: int = 11, now: datetime = RECOMMENDED_AT, **wanted: Any
) -> retraining.CycleResult:
    return retraining.run_cycle(TrainingOptions(storage=storage, seed=seed, **wanted), now, verified(storage))


def test_the_first_good_version_becomes_champion_without_an_experiment(storage: Path) -> None:
    Promotion.objects.all().delete()
    ModelVersion.objects.all().delete()

    cycled = cycle(storage)

    assert cycled.experiment is None
    assert ModelVersion.objects.get().role == "champion"


@pytest.fixture(scope="class")
def cycled_storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cycled") / "models"


@pytest.fixture(scope="class")
def cycled(trained: Path, cycled_storage: Path, django_db_blocker: Any) -> Iterator[retraining.CycleResult]:
    shutil.copytree(trained, cycled_storage)
    with django_db_blocker.unblock(), transaction.atomic():
        yield cycle(cycled_storage)
        transaction.set_rollback(True)


class TestAfterACycle:
    """A cycle with new plays has trained a version and started an experiment, once for these tests."""

    @pytest.fixture
    def storage(self, cycled: retraining.CycleResult, cycled_storage: Path, db: None, tmp_path: Path) -> Path:
        return Path(shutil.copytree(cycled_storage, tmp_path / "models"))

    @pytest.fixture
    def version(self, cycled: retraining.CycleResult, db: None) -> ModelVersion:
        assert cycled.training.version is not None
        return ModelVersion.objects.get(pk=cycled.training.version.pk)

    def test_a_cycle_trains_passes_every_gate_and_starts_an_experiment(
        self, cycled: retraining.CycleResult
    ) -> None:
        assert cycled.experiment is not None
        assert cycled.experiment.status == "running"
        names = {gate["name"]: gate["passed"] for gate in cycled.validation["gates"]}
        assert (names["artifact"], names["smoke"], names["baselines"]) == (True, True, True)
        assert cycled.validation["passed"]
        assert "is tested against" in cycled.sentence
        assert json.loads(json.dumps(cycled.validation, allow_nan=False)) == cycled.validation

    def test_without_new_data_nothing_is_trained(self, storage: Path) -> None:
        before = (ModelVersion.objects.count(), Experiment.objects.count())

        again = cycle(storage, only_if_new=True)

        assert again.training.status == TrainingRun.Status.REFUSED
        assert (ModelVersion.objects.count(), Experiment.objects.count()) == before
        assert again.sentence.startswith("There is no new data since")

    def test_the_smoke_gate_makes_each_listener_a_list_and_times_those_of_the_longest_histories(
        self, storage: Path, version: ModelVersion, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made: list[list[ListenerProfile]] = []

        def make_and_record(profiles: Sequence[ListenerProfile], *others: Any) -> list[CandidateArrays]:
            made.append(list(profiles))
            return generate_block(profiles, *others)

        monkeypatch.setattr(validation, "generate_block", make_and_record)

        found = validation.run_gates(version, storage, RECOMMENDED_AT, verified(storage))

        smoke = next(gate for gate in found["gates"] if gate["name"] == "smoke")
        listeners = [one.listener_id for block in made for one in block]
        assert len(listeners) == len(set(listeners)) == smoke["numbers"]["listeners"]
        timed, together = made[-25:], made[:-25]
        assert [len(block) for block in timed] == [1] * 25
        longest = [len(block[0].songs) for block in timed[5:]]
        assert min(longest) >= max(len(one.songs) for block in together for one in block)

    @pytest.mark.parametrize(("n_slow", "passes"), [(2, True), (3, False)])
    def test_the_smoke_gate_refuses_a_version_that_is_slow_for_a_twentieth_of_all_listeners(
        self, storage: Path, version: ModelVersion, monkeypatch: pytest.MonkeyPatch, n_slow: int, passes: bool
    ) -> None:
        spent: list[float] = []
        made: list[ListenerProfile] = []

        def make_slowly(profiles: Sequence[ListenerProfile], *others: Any) -> list[CandidateArrays]:
            # The last ones are those of the longest histories.
            made.extend(profiles)
            spent.append(0.4 if len(made) > 58 - n_slow else 0.001)
            return generate_block(profiles, *others)

        monkeypatch.setattr(validation, "generate_block", make_slowly)
        monkeypatch.setattr("time.thread_time", lambda: sum(spent))

        found = validation.run_gates(version, storage, RECOMMENDED_AT, verified(storage))

        smoke = next(gate for gate in found["gates"] if gate["name"] == "smoke")
        assert (smoke["numbers"]["listeners"], smoke["passed"]) == (58, passes)

    def test_a_version_that_is_worse_than_popularity_does_not_pass(
        self, storage: Path, version: ModelVersion
    ) -> None:
        version.metrics = {"mix": {"ndcg": 0.1, "listeners": 30}, "popularity": {"ndcg": 0.2}}

        found = validation.run_gates(version, storage, RECOMMENDED_AT, verified(storage))

        assert not found["passed"]
        assert (
            validation.failure_reasons(found)
            == "NDCG@20 0.1000 on the latest week, 0.2000 by popularity or chance."
        )

    @pytest.mark.parametrize(("high", "passes"), [(0.001, True), (-0.001, False)])
    def test_below_popularity_by_chance_alone_passes(
        self, storage: Path, version: ModelVersion, high: float, passes: bool
    ) -> None:
        version.metrics = {
            "mix": {"ndcg": 0.1, "listeners": 30}, "popularity": {"ndcg": 0.2},
            "against_floor": {"floor": "popularity", "difference": -0.1, "low": -0.2, "high": high,
                              "listeners": 30},
        }  # fmt: skip

        found = validation.run_gates(version, storage, RECOMMENDED_AT, verified(storage))

        assert found["passed"] is passes

    def test_with_few_listeners_the_measuring_gates_have_no_opinion(
        self, storage: Path, version: ModelVersion
    ) -> None:
        version.metrics = {
            "mix": {"ndcg": 0.1, "listeners": 29}, "popularity": {"ndcg": 0.2},
            "against_champion": {"champion": "2026w40.1", "difference": -0.2, "low": -0.3, "high": -0.1,
                                 "listeners": 29},
        }  # fmt: skip

        found = validation.run_gates(version, storage, RECOMMENDED_AT, verified(storage))

        told = {gate["name"]: (gate["passed"], gate["sentence"]) for gate in found["gates"]}
        assert found["passed"]
        assert (told["baselines"][0], told["champion"][0]) == (None, None)
        assert "29 listeners are too few to decide" in told["champion"][1]

    def test_a_version_with_damaged_files_fails_the_gates(self, storage: Path, version: ModelVersion) -> None:
        for file in (storage / version.label).glob("*.npy"):
            file.write_bytes(file.read_bytes()[:-4])

        found = validation.run_gates(version, storage, RECOMMENDED_AT, verified(storage))

        assert [gate["name"] for gate in found["gates"]] == ["artifact"]
        assert not found["passed"]

    def test_the_daily_review_judges_experiments_and_checks_engagement(self, storage: Path) -> None:
        make_healthy_feed(RECOMMENDED_AT + DAY)

        judged = retraining.run_daily_review(RECOMMENDED_AT + DAY, verified(storage))

        assert [one.decision.outcome for one in judged if one.decision] == ["waiting"]
        assert not Incident.objects.filter(resolved_at=None).exists()

    def test_an_invalid_experiment_opens_an_incident(self) -> None:
        ended = {
            "status": "ended",
            "ended_at": RECOMMENDED_AT,
            "outcome": "invalid",
            "reason": "The coin was crooked.",
        }
        Experiment.objects.update(**ended)

        alerts.check_experiments(RECOMMENDED_AT)

        opened = Incident.objects.get(resolved_at=None)
        assert opened.kind == "experiment_invalid"
        assert opened.facts["reason"] == "The coin was crooked."

    def test_the_last_final_decision_is_explained_and_recomputed(self, storage: Path, capsys: Out) -> None:
        test = Experiment.objects.get()
        lifecycle.decide_manually(
            test, promote=False, reason="No.", by="ada", now=RECOMMENDED_AT + DAY, verify=verified(storage)
        )

        call_command("explaindecision")

        told = capsys.readouterr().out
        assert "Evidence: 0 rounds won and 0 lost by 0 listeners in 1 days" in told
        assert "Counted again, the rows give this evidence" in told

    def test_a_decision_that_differs_when_recomputed_is_an_error(self, storage: Path) -> None:
        retraining.run_daily_review(RECOMMENDED_AT + DAY, verified(storage))
        decision = Decision.objects.get()
        decision.evidence["days"] = 61
        decision.save()

        with pytest.raises(CommandError, match="rows: days is 1 by today's rows, but 61 in the evidence"):
            call_command("explaindecision", str(decision.pk), "--json")


class TestDrift:
    def alarm(self, kind: str = "listening") -> None:
        champion = registry.current_champion()
        assert champion is not None
        DriftReport.objects.create(
            version=champion, kind=kind, week=RECOMMENDED_AT.date(), at=RECOMMENDED_AT, alarm=True
        )

    def test_drift_causes_at_most_one_full_retrain_a_month(self) -> None:
        def trained(at: datetime, **fields: Any) -> None:
            TrainingRun.objects.create(
                trigger="drift", status="succeeded", full=True, started_at=at, heartbeat_at=at, host="h",
                finished_at=at, pid=1, process_started=0.0, **fields,
            )  # fmt: skip

        assert retraining.may_run_full_retrain(RECOMMENDED_AT)
        trained(RECOMMENDED_AT - 27 * DAY)
        assert not retraining.may_run_full_retrain(RECOMMENDED_AT)
        assert retraining.may_run_full_retrain(RECOMMENDED_AT + 2 * DAY)

    def test_drift_causes_no_full_retrain_within_three_days_of_a_manual_one(self) -> None:
        TrainingRun.objects.create(
            trigger="command",
            status="succeeded",
            full=True,
            started_at=RECOMMENDED_AT - 2 * DAY,
            heartbeat_at=RECOMMENDED_AT,
            finished_at=RECOMMENDED_AT,
            host="h",
            pid=1,
            process_started=0.0,
        )

        assert not retraining.may_run_full_retrain(RECOMMENDED_AT)

    def test_the_weekly_drift_review_stores_reports(self, storage: Path) -> None:
        reports, is_due = retraining.run_drift_review(storage, RECOMMENDED_AT)

        assert [report.kind for report in reports] == ["songs", "listening", "recommended", "feedback"]
        assert not is_due

    @pytest.mark.parametrize(
        ("kind", "resolved_days_ago", "is_due"),
        [("songs", None, False), ("songs", 3, False), ("songs", 20, True), ("listening", None, True)],
    )
    def test_drift_of_new_songs_from_a_broken_feed_causes_no_retrain(
        self, storage: Path, monkeypatch: pytest.MonkeyPatch, kind: str, resolved_days_ago: int | None,
        is_due: bool,
    ) -> None:  # fmt: skip
        TrainingRun.objects.update(full=False)
        alarm = DriftReport(kind=kind, alarm=True, week=RECOMMENDED_AT.date())
        monkeypatch.setattr(alerts, "check_drift", lambda model, now: [alarm])
        monkeypatch.setattr(alerts, "check_feed", lambda now: [])
        Incident.objects.create(
            key="feed_fault:energy",
            kind="feed_fault",
            severity="warning",
            opened_at=RECOMMENDED_AT - 30 * DAY,
            seen_at=RECOMMENDED_AT,
            resolved_at=None if resolved_days_ago is None else RECOMMENDED_AT - resolved_days_ago * DAY,
        )

        assert retraining.run_drift_review(storage, RECOMMENDED_AT)[1] is is_due

    def test_checkdrift_prints_text_and_json(self, capsys: Out) -> None:
        call_command("checkdrift")
        told = capsys.readouterr().out
        call_command("checkdrift", "--json")
        facts = json.loads(capsys.readouterr().out)

        assert "compared with the eight weeks before it" in told
        assert [one["kind"] for one in facts["reports"]] == ["songs", "listening", "recommended", "feedback"]
        assert facts["full_retrain_is_due"] is False


def test_before_the_first_experiment_ended_it_says_so() -> None:
    with pytest.raises(CommandError, match="No experiment has ended yet"):
        call_command("explaindecision")
    with pytest.raises(CommandError, match="There is no decision 7"):
        call_command("explaindecision", "7")


class TestTimetable:
    def test_the_timetable_names_existing_tasks(self) -> None:
        schedules.sync_timetable("Europe/Paris")
        schedules.sync_timetable("Europe/Paris")

        entries = PeriodicTask.objects.filter(task__startswith="recommender.tasks.")
        assert entries.count() == 6
        for entry in entries:
            assert entry.task in current_app.tasks
        weekly_entry = entries.get(task="recommender.tasks.learn_weekly")
        assert str(weekly_entry.crontab.timezone) == "Europe/Paris"

    @pytest.mark.usefixtures("db")
    def test_the_tasks_do_their_work(self) -> None:
        assert "is tested against" in tasks.train_weekly() or "There is no new data" in tasks.train_weekly()
        assert tasks.check_drift_weekly() == "4 reports, 0 alarms."
        assert tasks.review_daily()
