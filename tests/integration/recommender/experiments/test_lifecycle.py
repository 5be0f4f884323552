"""Experiments from the proposal to the verdict and its effect on roles and promotions."""

from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from importlib import import_module
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from django.apps import apps
from django.db import IntegrityError, transaction

from ingestion.alerts.notifications import create_notifications
from ingestion.models import Incident, Listener
from moovitamix.operations.service_state import assess_service
from recommender import retraining
from recommender.engine.artifact import ArtifactDamaged
from recommender.engine.experiments.decision_rules import apply_decision_rules
from recommender.engine.experiments.decision_thresholds import DecisionRules
from recommender.engine.experiments.evidence import ExperimentEvidence
from recommender.experiments import decisions, lifecycle, refresh_limits, statistics
from recommender.models import (
    CandidateList,
    Decision,
    Experiment,
    Exposure,
    ModelVersion,
    Promotion,
    ScoredList,
    ServedList,
    ServingError,
    TrainingRun,
)
from recommender.monitoring import alerts
from recommender.registry import registry
from recommender.registry.registry import NotPromotable
from tests.support.builders.experiments import (
    DAY,
    START,
    make_experiment,
    make_healthy_feed,
    make_import,
    make_ingestion_run,
    make_interleaved_list,
    make_listeners_and_songs,
    make_version,
)

pytestmark = pytest.mark.django_db

Role = ModelVersion.Role
TEAMS = [False, True]


def sound(one: ModelVersion) -> None:
    """Accept every artifact."""


@pytest.fixture
def champion() -> ModelVersion:
    make_listeners_and_songs(listeners=range(1, 61))
    first = make_version("2026w44.1")
    registry.promote(first, reason="The first.", by="test", verify=sound)
    Promotion.objects.update(at=START - 40 * DAY)
    first.refresh_from_db()
    return first


@pytest.fixture
def candidate(champion: ModelVersion) -> ModelVersion:
    return make_version("2026w45.1")


def propose(candidate: ModelVersion, kind: str = "change", by: str = "test", **fields: Any) -> Experiment:
    return lifecycle.propose_experiment(
        candidate, kind=kind, gates={"passed": True}, by=by, now=fields.pop("now", START), **fields
    )


def rounds(
    test: Experiment, *, wins: int, losses: int, listeners: int = 60, days: int = 20, since: int = 0
) -> None:
    """Scored lists from day `since` on, won and lost evenly over listeners and days."""
    rows, served = [], []
    number = listeners * days
    # In a fixed order by chance: in turn, the same listeners would always win.
    turns = np.random.default_rng(7).permutation(number).tolist()
    for place, turn in enumerate(turns):
        listener, day = place % listeners + 1, place // listeners + since
        at = START + day * DAY
        served.append((listener, at, day))
        won = wins * (turn + 1) // number - wins * turn // number
        lost = losses * (turn + 1) // number - losses * turn // number
        rows.append((won, lost))
    shelf = make_candidate_list(test)
    lists = ServedList.objects.bulk_create(
        ServedList(
            listener_id=listener,
            candidate_list=shelf,
            version=test.champion,
            experiment=test,
            arm="interleaved",
            generated_at=at,
            discovery=0.3,
            temperature=0.1,
            seed="s",
            pages=[],
            items=[{"song": 10, "by_challenger": False}, {"song": 11, "by_challenger": True}],
        )
        for listener, at, _ in served
    )
    ScoredList.objects.bulk_create(
        ScoredList(
            experiment=test, served_list=one, listener_id=one.listener_id, day=one.generated_at.date(),
            rounds=10, first_picks=5, closed_at=one.generated_at + 3 * DAY, wins=won, losses=lost,
        )
        for one, (won, lost) in zip(lists, rows, strict=True)
    )  # fmt: skip


def make_candidate_list(test: Experiment) -> CandidateList:
    return CandidateList.objects.create(
        listener_id=1, version=test.champion, made_at=START - DAY, candidates=b""
    )


def ended(test: Experiment, after: int = 33) -> Experiment:
    make_healthy_feed(START + after * DAY)
    lifecycle.judge_experiments(START + after * DAY, sound)
    test.refresh_from_db()
    return test


def role(one: ModelVersion) -> str:
    return ModelVersion.objects.get(pk=one.pk).role


def test_a_candidate_becomes_challenger_if_no_experiment_runs(candidate: ModelVersion) -> None:
    test = propose(candidate)

    assert (test.status, test.started_at) == ("running", START)
    assert role(candidate) == Role.CHALLENGER
    assert test.planned_listeners == 1


def test_without_a_champion_no_experiment_can_be_proposed() -> None:
    lonely = make_version("2026w45.1")

    with pytest.raises(lifecycle.ExperimentNotAllowed, match="promote a version first"):
        propose(lonely)


def test_a_newer_candidate_replaces_a_waiting_one_but_not_a_running_one(candidate: ModelVersion) -> None:
    tested = propose(candidate)
    waits = propose(make_version("2026w46.1"), "refresh")
    newer = propose(make_version("2026w47.1"), "refresh")

    for one in (tested, waits, newer):
        one.refresh_from_db()
    assert [one.status for one in (tested, waits, newer)] == ["running", "ended", "waiting"]
    assert (waits.outcome, waits.reason) == ("void", "2026w47.1 is newer.")


def test_the_database_allows_one_running_experiment(candidate: ModelVersion) -> None:
    running = propose(candidate)
    Experiment.objects.filter(pk=running.pk).update(status="waiting", started_at=None)
    other = propose(make_version("2026w46.1"))

    with pytest.raises(IntegrityError), transaction.atomic():
        Experiment.objects.filter(pk=running.pk).update(
            status="running", ended_at=None, outcome="", started_at=START
        )
    assert other.status == "running"


def test_a_change_that_wins_is_promoted_with_the_reason(candidate: ModelVersion) -> None:
    test = propose(candidate, list_share=1.0)
    rounds(test, wins=700, losses=500)

    assert ended(test).outcome == "promote"

    promotion = Promotion.objects.first()
    assert promotion is not None
    assert (promotion.promoted, promotion.by) == (candidate, "the loop")
    assert promotion.reason.startswith("Better: 700 rounds won, 500 lost, e-value ")
    assert promotion.decision.final
    assert role(candidate) == Role.CHAMPION


def test_a_change_waits_for_its_days_and_each_daily_decision_is_stored(candidate: ModelVersion) -> None:
    test = propose(candidate, list_share=1.0)
    rounds(test, wins=700, losses=500)

    assert ended(test, after=30).status == "running"
    assert list(Decision.objects.values_list("outcome", "final")) == [("waiting", False)]


def test_a_change_that_loses_is_rejected(candidate: ModelVersion) -> None:
    test = propose(candidate, list_share=1.0)
    rounds(test, wins=300, losses=500)

    assert ended(test, after=23).outcome == "reject"
    assert role(candidate) == Role.RETIRED
    assert registry.former_champions() == []


def test_a_stored_decision_is_recomputed_byte_for_byte(candidate: ModelVersion) -> None:
    test = propose(candidate, list_share=1.0)
    rounds(test, wins=700, losses=500)
    ended(test)
    decision = Decision.objects.get(final=True)

    replayed = decisions.replay_decision(decision)

    assert replayed.same
    assert not replayed.code_changed
    assert replayed.stored == replayed.found


def test_an_aa_decision_stored_before_equals_days_is_recomputed_the_same(
    champion: ModelVersion,
) -> None:
    test = propose(champion, "equals", list_share=1.0)
    rounds(test, wins=500, losses=490, days=10)
    ended(test, after=13)
    stored = Decision.objects.get()
    stored.evidence["days"] = 40
    stored.rules = asdict(DecisionRules())
    del stored.rules["equals_days"], stored.rules["version"]
    stored.verdict["numbers"] = {
        "ln_e": stored.verdict["numbers"]["ln_e"],
        "z": stored.verdict["numbers"]["z"],
    }
    # The first version of the rules calls an e-value odds.
    reason = stored.verdict["reason"]
    stored.verdict["reason"] = reason.replace("e-value", "odds")

    replayed = decisions.replay_decision(stored)

    assert reason == "Two arms of the same model: 500 to 490, e-value 1 : 4.9."
    assert replayed.same


def test_a_decision_with_changed_evidence_is_recomputed_differently(candidate: ModelVersion) -> None:
    test = propose(candidate, list_share=1.0)
    rounds(test, wins=700, losses=500)
    ended(test)
    decision = Decision.objects.get(final=True)
    decision.evidence["wins"] = 500

    assert not decisions.replay_decision(decision).same


@pytest.mark.parametrize(
    ("field", "forged", "named"),
    [
        ("evidence", {"wins": 900}, "rows: wins is 700 by today's rows, but 900 in the evidence."),
        ("rules", {"better": 2.0}, "rules: better differ from the rules of their version."),
        ("verdict", {"reason": "It is lovely."}, "verdict: the evidence and the rules give another verdict."),
    ],
)
def test_a_forged_decision_is_found_and_named(
    candidate: ModelVersion, field: str, forged: dict[str, Any], named: str
) -> None:
    test = propose(candidate, list_share=1.0)
    rounds(test, wins=700, losses=500)
    ended(test)
    decision = Decision.objects.get(final=True)
    setattr(decision, field, {**getattr(decision, field), **forged})

    assert named in decisions.replay_decision(decision).differences


@pytest.mark.parametrize(
    ("forge", "named"),
    [
        (
            lambda decision: Decision.objects.update(outcome="reject"),
            ["outcome: the decision is listed as reject, but its verdict is promote."],
        ),
        (
            lambda decision: Experiment.objects.filter(status="ended").update(outcome="reject"),
            ["experiment: it ended as reject, but the verdict is promote."],
        ),
        (
            lambda decision: Experiment.objects.filter(status="ended").update(reason="It is lovely."),
            ["experiment: the reason for which it ended is not that of the verdict."],
        ),
        (
            lambda decision: Experiment.objects.filter(status="ended").update(
                outcome="reject", reason="Decided by ada: No."
            ),
            [
                "experiment: the reason for which it ended is not that of the verdict.",
                "experiment: it ended as reject, but the verdict is promote.",
            ],
        ),
        (
            lambda decision: Decision.objects.filter(final=True).update(decided_by="ada"),
            ["promotion: ada promoted 2026w45.1, but no promotion says so."],
        ),
        (
            lambda decision: Experiment.objects.filter(status="ended").update(gates={"passed": False}),
            ["gate: the evidence and the experiment disagree on whether the offline gates were passed."],
        ),
        (
            lambda decision: decision.promotion.delete(),
            ["promotion: the verdict is to promote 2026w45.1, but no promotion says so."],
        ),
        (
            lambda decision: ScoredList.objects.all().delete(),
            ["rows: wins is 0 by today's rows, but 700 in the evidence."],
        ),
    ],
    ids=["outcome", "experiment", "reason", "signed reason", "person", "gates", "promotion", "rows deleted"],
)
def test_records_that_contradict_the_verdict_are_named(
    candidate: ModelVersion, forge: Callable[[Decision], object], named: list[str]
) -> None:
    test = propose(candidate, list_share=1.0)
    rounds(test, wins=700, losses=500)
    ended(test)
    untouched = decisions.replay_decision(Decision.objects.get(final=True)).differences
    forge(Decision.objects.get(final=True))

    found = decisions.replay_decision(Decision.objects.get(final=True)).differences

    assert untouched == []
    assert found[: len(named)] == named


def test_a_persons_decision_against_the_verdict_is_no_contradiction(candidate: ModelVersion) -> None:
    test = propose(candidate, list_share=1.0)
    make_healthy_feed(START + DAY)
    lifecycle.decide_manually(test, promote=False, reason="No.", by="ann", now=START + DAY, verify=sound)

    decision = Decision.objects.get(final=True)

    assert (decision.outcome, decision.decided_by) == ("waiting", "ann")
    assert decisions.replay_decision(decision).differences == []


def test_the_person_who_decided_before_there_was_a_field_is_read_from_the_reason(
    candidate: ModelVersion,
) -> None:
    migration = import_module("recommender.migrations.0032_decided_by")
    test = propose(candidate, list_share=1.0)
    make_healthy_feed(START + DAY)
    lifecycle.decide_manually(test, promote=False, reason="No: no.", by="ann", now=START + DAY, verify=sound)
    Decision.objects.update(decided_by="")

    migration.name_people(apps, None)

    assert Decision.objects.get(final=True).decided_by == "ann"


def test_evidence_and_verdict_that_are_forged_together_do_not_agree_with_the_rows(
    candidate: ModelVersion,
) -> None:
    test = propose(candidate, list_share=1.0)
    rounds(test, wins=500, losses=500)
    ended(test)
    decision = Decision.objects.get()
    evidence = replace(
        ExperimentEvidence.from_json(decision.evidence), wins=700, winners=60, losers=0, trimmed_wins=600
    )
    decision.evidence = evidence.as_json()
    decision.verdict = decisions.verdict_as_json(apply_decision_rules(evidence))

    replayed = decisions.replay_decision(decision)

    assert replayed.same
    assert [name for name, _, _ in replayed.recount][:1] == ["wins"]


def test_a_changed_row_is_found_although_the_totals_are_the_same(candidate: ModelVersion) -> None:
    test = propose(candidate, list_share=1.0)
    rounds(test, wins=700, losses=500)
    ended(test)
    first, other = ScoredList.objects.filter(wins=1, losses=0)[:1].get(), ScoredList.objects.filter(wins=0)[0]
    ScoredList.objects.filter(pk=first.pk).update(wins=0)
    ScoredList.objects.filter(pk=other.pk).update(wins=1)

    replayed = decisions.replay_decision(Decision.objects.get(final=True))

    assert replayed.data_changed
    assert replayed.same


def test_rows_after_a_decision_do_not_change_its_recount(candidate: ModelVersion) -> None:
    test = propose(candidate, list_share=0.9)
    rounds(test, wins=100, losses=90, days=5)
    ended(test, after=10)
    rounds(test, wins=10, losses=400, days=5, since=12)

    assert decisions.replay_decision(Decision.objects.get()).differences == []


def test_too_many_lists_for_their_share_make_an_experiment_invalid(candidate: ModelVersion) -> None:
    test = propose(candidate, list_share=0.7)
    rounds(test, wins=700, losses=500)

    assert ended(test).outcome == "invalid"
    assert role(candidate) == Role.CANDIDATE
    assert test.reason.startswith("Lists of the test: 1080 of 1080 where 70% was planned.")


def test_a_list_from_an_arm_without_a_share_makes_an_experiment_invalid(candidate: ModelVersion) -> None:
    test = propose(candidate, list_share=1.0)
    rounds(test, wins=700, losses=500)
    ServedList.objects.filter(pk=ServedList.objects.all()[0].pk).update(arm="challenger")

    assert ended(test).reason == "1 lists came from an arm whose share is 0."


def test_listeners_in_both_arms_make_an_experiment_invalid(candidate: ModelVersion) -> None:
    test = propose(candidate, list_share=1.0, split_share=0.4)
    Exposure.objects.bulk_create(
        Exposure(experiment=test, listener_id=listener, arm=arm, first_at=START)
        for listener in range(1, 41)
        for arm in ("champion", "challenger")
        if listener == 1 or (listener % 2 == 0) == (arm == "champion")
    )

    assert ended(test).outcome == "invalid"
    assert "2.5% of the listeners were seen in both arms" in test.reason


def test_no_traffic_until_the_verdict_day_is_not_a_failure(candidate: ModelVersion) -> None:
    test = propose(candidate)

    assert ended(test, after=40).status == "running"
    assert ended(test, after=60).outcome == "inconclusive"


def test_a_challenger_that_can_not_be_loaded_is_withdrawn_for_good(candidate: ModelVersion) -> None:
    test = propose(candidate)
    ServingError.objects.create(experiment=test, kind="artifact", detail="A hash differs.", at=START)

    assert ended(test, after=1).outcome == "rollback"
    assert role(candidate) == Role.WITHDRAWN
    assert test.reason == "2026w45.1 could not be loaded: A hash differs."
    with pytest.raises(NotPromotable):
        registry.promote(candidate, reason="Again.", by="test", verify=sound)


@pytest.mark.parametrize(("errors", "outcome"), [(2, ""), (4, "rollback")])
def test_too_many_serving_errors_end_an_experiment(
    candidate: ModelVersion, errors: int, outcome: str
) -> None:
    test = propose(candidate, list_share=1.0)
    shelf = make_interleaved_list(test, 1, START, [10, 11], TEAMS).candidate_list
    ServedList.objects.bulk_create(
        ServedList(
            listener_id=place % 60 + 1, candidate_list=shelf, version=test.champion, experiment=test,
            arm="interleaved", generated_at=START + timedelta(seconds=place), discovery=0.3,
            temperature=0.1, seed="s", pages=[], items=[{"song": 10}],
        )
        for place in range(1, 50)
    )  # fmt: skip
    ServingError.objects.bulk_create(
        ServingError(experiment=test, kind="error", detail="It broke.", at=START) for _ in range(errors)
    )

    assert ended(test, after=1).outcome == outcome


def test_a_challenger_that_fails_is_withdrawn_between_two_reviews(candidate: ModelVersion) -> None:
    test = propose(candidate)
    lists = make_interleaved_list(test, 1, START, [10, 11], TEAMS)
    for second in range(30):
        lists.pk, lists.generated_at = uuid4(), START + timedelta(seconds=second)
        lists.save(force_insert=True)
    ServingError.objects.bulk_create(
        ServingError(experiment=test, kind="error", detail="It broke.", at=START) for _ in range(5)
    )

    lifecycle.judge_experiments(START + timedelta(minutes=30), sound)
    alerts.check_experiments(START + timedelta(minutes=30))

    test.refresh_from_db()
    assert (test.outcome, role(candidate)) == ("rollback", Role.WITHDRAWN)
    assert test.reason.startswith("5 of 36 requests to 2026w45.1 broke or came back empty")
    assert Incident.objects.get(resolved_at=None).kind == "challenger_failed"


def test_a_failing_challenger_is_withdrawn_though_its_failures_leave_lists_out_of_the_test(
    candidate: ModelVersion,
) -> None:
    test = propose(candidate)
    rounds(test, wins=0, losses=0, days=6)
    ServingError.objects.bulk_create(
        ServingError(experiment=test, kind="error", detail="It broke.", at=START) for _ in range(90)
    )

    assert ended(test, after=7).outcome == "rollback"
    assert role(candidate) == Role.WITHDRAWN


def test_a_refresh_that_is_not_worse_is_promoted_on_day_13(candidate: ModelVersion) -> None:
    test = propose(candidate, "refresh", list_share=1.0)
    rounds(test, wins=300, losses=300, days=12)

    assert ended(test, after=12).status == "running"
    assert ended(test, after=13).outcome == "promote"


def test_a_fad_of_three_days_does_not_promote_a_refresh(candidate: ModelVersion) -> None:
    test = propose(candidate, "refresh", list_share=1.0)
    rounds(test, wins=480, losses=0, days=4)
    rounds(test, wins=100, losses=250, days=7, since=4)

    assert ended(test, after=13).outcome == "reject"


class TestFeed:
    """No verdict rests on listening that was not imported."""

    @pytest.fixture
    def due(self, candidate: ModelVersion) -> Experiment:
        test = propose(candidate, "refresh", list_share=1.0)
        rounds(test, wins=0, losses=600, days=12)
        ScoredList.objects.update(closed_at=None, wins=0, losses=0)
        return test

    @pytest.mark.parametrize("day", [13, 14, 30])
    def test_while_the_source_is_down_a_refresh_waits(self, due: Experiment, day: int) -> None:
        make_import(START + 4 * DAY)

        lifecycle.judge_experiments(START + day * DAY, sound)

        due.refresh_from_db()
        assert due.status == "running"
        assert (
            due.decisions.get()
            .verdict["reason"]
            .startswith("It waits for the listening history: no import has succeeded since 2026-11-06")
        )

    def test_while_every_run_is_partial_a_refresh_waits(self, due: Experiment) -> None:
        for day in range(15):
            make_ingestion_run(START + day * DAY, status="partial")

        lifecycle.judge_experiments(START + 14 * DAY, sound)

        due.refresh_from_db()
        assert due.status == "running"

    def test_while_the_history_is_empty_a_refresh_waits_and_an_incident_says_why(
        self, due: Experiment
    ) -> None:
        for day in range(15):
            make_ingestion_run(START + day * DAY)

        retraining.run_daily_review(START + 14 * DAY, sound)

        due.refresh_from_db()
        opened = Incident.objects.get(kind="experiment_waits")
        assert due.status == "running"
        assert opened.facts["reason"] == (
            "720 lists are older than 72 hours and their listening is not imported; it is empty."
        )

    def test_when_the_history_arrives_the_refresh_is_judged_by_it(self, due: Experiment) -> None:
        make_import(START + 4 * DAY)
        retraining.run_daily_review(START + 14 * DAY, sound)
        ScoredList.objects.update(closed_at=START + 15 * DAY, losses=1)
        make_healthy_feed(START + 16 * DAY)

        retraining.run_daily_review(START + 16 * DAY, sound)

        due.refresh_from_db()
        assert due.outcome == "reject"
        assert not Incident.objects.filter(kind="experiment_waits", resolved_at=None).exists()

    def test_a_sudden_fall_of_decisive_rounds_is_a_sick_feed(self, due: Experiment) -> None:
        ScoredList.objects.update(closed_at=START + 12 * DAY)
        other = make_experiment(
            "equals", status="ended", outcome="void", ended_at=START, champion=due.champion
        )
        rounds(other, wins=300, losses=300, days=10, since=-12)

        assert ended(due, after=13).status == "running"
        assert "only 0% of the lists of the last seven days" in due.decisions.get().verdict["reason"]

    def test_a_site_with_few_listeners_is_judged_by_the_offline_gate(self, candidate: ModelVersion) -> None:
        test = propose(candidate, "refresh", list_share=1.0)
        rounds(test, wins=4, losses=4, listeners=3, days=12)

        assert ended(test, after=14).outcome == "promote"
        assert "the offline gate is for it" in test.reason


def test_three_fans_do_not_promote_a_change_that_the_others_dislike(candidate: ModelVersion) -> None:
    test = propose(candidate, list_share=1.0)
    rounds(test, wins=3 * 30 * 3, losses=0, listeners=3, days=30)
    rounds(test, wins=60, losses=100, listeners=60, since=30)

    assert ended(test, after=60).outcome == "inconclusive"


def test_one_listener_who_wins_45_rounds_decides_nothing(candidate: ModelVersion) -> None:
    test = propose(candidate, list_share=1.0)
    rounds(test, wins=45, losses=6, listeners=1)

    assert ended(test, after=40).status == "running"


def test_the_waiting_experiment_starts_when_the_running_one_ends(candidate: ModelVersion) -> None:
    first = propose(candidate, list_share=1.0)
    second = propose(make_version("2026w46.1"), "refresh")
    rounds(first, wins=300, losses=500)

    ended(first, after=23)

    second.refresh_from_db()
    assert (second.status, second.started_at) == ("running", START + 23 * DAY)


class TestObsoleteCandidates:
    """The running test is won while another candidate waits."""

    def waited(self, candidate: ModelVersion, by: str, *, full: bool = False) -> Experiment:
        first = propose(candidate)
        newer = make_version("2026w46.1")
        TrainingRun.objects.create(
            trigger="schedule", status="succeeded", full=full, version=newer, started_at=START, pid=1,
            heartbeat_at=START, finished_at=START, host="h", process_started=0.0,
        )  # fmt: skip
        waits = propose(newer, by=by)
        lifecycle.decide_manually(
            first, promote=True, reason="Good.", by="ada", now=START + DAY, verify=sound
        )
        lifecycle.start_next_experiment(START + DAY)
        waits.refresh_from_db()
        return waits

    def test_an_automatic_candidate_is_not_tested_against_a_champion_it_does_not_continue(
        self, candidate: ModelVersion
    ) -> None:
        waits = self.waited(candidate, "the loop")

        assert (waits.status, waits.outcome) == ("ended", "void")
        assert waits.reason == "It was made to follow 2026w44.1."
        assert role(waits.challenger) == Role.CANDIDATE

    def test_a_full_retrain_is_still_tested_against_another_champion(self, candidate: ModelVersion) -> None:
        waits = self.waited(candidate, "the loop", full=True)

        assert (waits.status, waits.champion.label) == ("running", "2026w45.1")

    def test_a_version_proposed_by_a_person_is_still_tested(self, candidate: ModelVersion) -> None:
        assert self.waited(candidate, "ada").status == "running"


def test_a_rollback_during_an_experiment_voids_it(candidate: ModelVersion) -> None:
    old = make_version("2026w43.1", "retired")
    Promotion.objects.create(promoted=old, reason="Before.", by="test", at=START - 50 * DAY)
    test = propose(candidate)
    registry.roll_back(reason="It misbehaves.", by="a person", verify=sound)

    assert lifecycle.void_obsolete_experiments(START + DAY) == 1

    test.refresh_from_db()
    assert (test.outcome, test.reason) == ("void", "The champion is 2026w43.1 by now.")
    assert role(candidate) == Role.CANDIDATE


class TestHoldback:
    @pytest.fixture
    def successor(self, champion: ModelVersion) -> ModelVersion:
        newer = make_version("2026w45.1")
        registry.promote(newer, reason="Newer.", by="test", verify=sound)
        Promotion.objects.filter(promoted=newer).update(at=START - DAY)
        newer.refresh_from_db()
        return newer

    def anchored(self, at: datetime = START) -> Experiment:
        anchor = lifecycle.renew_holdback(at)
        assert anchor is not None
        return anchor

    def test_the_champion_of_28_days_ago_is_the_holdback(
        self, champion: ModelVersion, successor: ModelVersion
    ) -> None:
        anchor = self.anchored()

        assert (anchor.challenger, anchor.champion, anchor.list_share) == (champion, successor, 0.3)
        assert self.anchored(START + 27 * DAY) == anchor

    def test_after_28_days_there_is_a_new_holdback(
        self, champion: ModelVersion, successor: ModelVersion
    ) -> None:
        third = make_version("2026w46.1")
        anchor = self.anchored()
        registry.promote(third, reason="Newer.", by="test", verify=sound)
        Promotion.objects.filter(promoted=third).update(at=START + 10 * DAY)

        newer = self.anchored(START + 28 * DAY)

        anchor.refresh_from_db()
        assert (anchor.outcome, newer.challenger) == ("inconclusive", successor)

    def test_a_champion_that_loses_to_the_holdback_is_replaced_by_it(
        self, champion: ModelVersion, successor: ModelVersion
    ) -> None:
        anchor = self.anchored()
        Experiment.objects.filter(pk=anchor.pk).update(list_share=1.0)
        rounds(anchor, wins=500, losses=300)

        assert ended(anchor, after=10).outcome == "rollback"

        assert (role(champion), role(successor)) == (Role.CHAMPION, Role.WITHDRAWN)
        promotion = Promotion.objects.first()
        assert promotion is not None
        assert promotion.rollback
        assert "The champion 2026w45.1 is worse than what served 28 days ago" in promotion.reason

    def test_rounds_of_earlier_champions_do_not_withdraw_the_present_one(
        self, champion: ModelVersion, successor: ModelVersion
    ) -> None:
        anchor = self.anchored()
        Experiment.objects.filter(pk=anchor.pk).update(list_share=1.0)
        rounds(anchor, wins=500, losses=300, days=5)
        third = make_version("2026w46.1")
        registry.promote(third, reason="Newer.", by="test", verify=sound)
        rounds(anchor, wins=20, losses=30, days=5, since=5)
        ServedList.objects.filter(generated_at__gte=START + 5 * DAY).update(version=third)

        assert ended(anchor, after=15).status == "running"

        assert role(third) == Role.CHAMPION
        assert anchor.decisions.get().evidence["tested"] == "2026w46.1"
        assert (anchor.decisions.get().evidence["wins"], anchor.decisions.get().evidence["losses"]) == (
            30,
            20,
        )

    def test_instead_of_a_damaged_holdback_the_last_good_version_is_restored(
        self, champion: ModelVersion, successor: ModelVersion
    ) -> None:
        older = make_version("2026w43.1", "retired")
        Promotion.objects.create(promoted=older, reason="Before.", by="test", at=START - 90 * DAY)
        anchor = self.anchored()
        Experiment.objects.filter(pk=anchor.pk).update(list_share=1.0)
        rounds(anchor, wins=500, losses=300)

        def verify(one: ModelVersion) -> None:
            if one == champion:
                raise ArtifactDamaged("A hash differs.")

        make_healthy_feed(START + 24 * DAY)
        lifecycle.judge_experiments(START + 24 * DAY, verify)

        assert role(older) == Role.CHAMPION

    def test_a_champion_that_wins_against_the_holdback_stays(
        self, champion: ModelVersion, successor: ModelVersion
    ) -> None:
        anchor = self.anchored()
        Experiment.objects.filter(pk=anchor.pk).update(list_share=1.0)
        rounds(anchor, wins=300, losses=500)

        assert ended(anchor, after=10).status == "running"
        assert role(successor) == Role.CHAMPION

    def test_without_an_older_champion_there_is_no_holdback(self, champion: ModelVersion) -> None:
        assert lifecycle.renew_holdback(START) is None


class TestRefreshesInARow:
    """Refreshes that each lose too little to be seen."""

    def promote_unproven(self, label: str, after: int, *, z: float = 0.1) -> Experiment:
        """A refresh that was promoted automatically on that day, with this z."""
        version = make_version(label)
        former = registry.current_champion()
        assert former is not None
        at = START + after * DAY
        test = make_experiment(
            "refresh", champion=former, challenger=version, status="ended", outcome="promote",
            by="the loop", created_at=at - 13 * DAY, started_at=at - 13 * DAY, ended_at=at,
        )  # fmt: skip
        promotion = registry.promote(version, reason="Not worse.", by="the loop", verify=sound)
        Promotion.objects.filter(pk=promotion.pk).update(at=at)
        decision, _ = decisions.store_decision(
            test, ExperimentEvidence("refresh", days=13, wins=150, losses=150, listeners=60, z=z), "", at
        )
        decisions.mark_final(decision, promotion)
        return test

    def test_two_that_did_not_win_open_an_incident_until_one_wins(self, champion: ModelVersion) -> None:
        self.promote_unproven("2026w46.1", 13)
        alerts.check_experiments(START + 13 * DAY)
        after_one = Incident.objects.filter(kind="refreshes_unproven").count()
        self.promote_unproven("2026w48.1", 27)
        alerts.check_experiments(START + 27 * DAY)
        opened = Incident.objects.get(kind="refreshes_unproven", resolved_at=None)
        created = create_notifications(
            START + 27 * DAY, ["email"], remind_after=DAY, site_url="", language="en"
        )
        state = assess_service(START + 27 * DAY)
        self.promote_unproven("2026w52.1", 61, z=1.3)
        alerts.check_experiments(START + 61 * DAY)

        assert (after_one, opened.facts["versions"]) == (0, "2026w46.1, 2026w48.1")
        # With refreshes of equal quality this is the usual state: pages show it, nobody is notified.
        assert (opened.severity, created) == ("notice", 0)
        assert state.checks["incidents"] == "ok"
        assert opened in state.incidents
        assert not Incident.objects.filter(kind="refreshes_unproven", resolved_at=None).exists()

    def lose_to_the_holdback(self, after: int) -> None:
        champion, former = registry.current_champion(), make_version(f"2026w{after}.9", "retired")
        make_experiment(
            "anchor", champion=champion, challenger=former, status="ended", outcome="rollback",
            by="the loop", started_at=START, ended_at=START + after * DAY,
        )  # fmt: skip

    def test_two_returns_to_the_holdback_in_a_quarter_freeze_refreshes_until_a_person_decides(
        self, champion: ModelVersion
    ) -> None:
        Promotion.objects.update(by="the loop")
        self.lose_to_the_holdback(20)
        after_one = refresh_limits.why_frozen(START + 21 * DAY)
        self.lose_to_the_holdback(50)
        now = START + 51 * DAY

        frozen = propose(make_version("2026w50.1"), "refresh", by="the loop", now=now)
        alerts.check_experiments(now)
        opened = Incident.objects.get(kind="refreshes_frozen", resolved_at=None)
        change = propose(make_version("2026w50.2"), "change", by="the loop", now=now)
        by_a_person = propose(make_version("2026w50.3"), "refresh", by="ada", now=now)
        alerts.check_experiments(now + DAY)

        assert after_one == ""
        assert frozen.outcome == "void"
        assert frozen.reason == (
            "Refreshes are frozen: the champion lost to the one of 28 days before, and was replaced by it, "
            "on 2026-11-22 and 2026-12-22."
        )
        assert opened.facts["reason"] in frozen.reason
        assert change.status == "running"
        assert by_a_person.status == "waiting"
        assert not Incident.objects.filter(kind="refreshes_frozen", resolved_at=None).exists()

    def test_time_alone_ends_no_freeze(self, champion: ModelVersion) -> None:
        Promotion.objects.update(by="the loop")
        self.lose_to_the_holdback(20)
        self.lose_to_the_holdback(50)
        at_once = refresh_limits.why_frozen(START + 51 * DAY)

        assert at_once.endswith("on 2026-11-22 and 2026-12-22.")
        assert refresh_limits.why_frozen(START + 400 * DAY) == at_once

    def test_two_returns_to_the_holdback_more_than_a_quarter_apart_freeze_nothing(
        self, champion: ModelVersion
    ) -> None:
        Promotion.objects.update(by="the loop")
        self.lose_to_the_holdback(20)
        self.lose_to_the_holdback(112)

        assert refresh_limits.why_frozen(START + 113 * DAY) == ""

    def test_a_full_retrain_ends_the_freeze(self, champion: ModelVersion) -> None:
        Promotion.objects.update(by="the loop")
        self.lose_to_the_holdback(20)
        self.lose_to_the_holdback(50)
        at = START + 52 * DAY
        before = refresh_limits.why_frozen(at)
        TrainingRun.objects.create(
            trigger="schedule", status="succeeded", full=True, version=make_version("2026w51.1"),
            started_at=at, pid=1, heartbeat_at=at, finished_at=at, host="h", process_started=0.0,
        )  # fmt: skip

        assert before
        assert refresh_limits.why_frozen(at) == ""


class TestManualDecisions:
    def test_a_person_promotes_with_a_reason(self, candidate: ModelVersion) -> None:
        test = propose(candidate)

        promotion = lifecycle.decide_manually(
            test, promote=True, reason="It is needed.", by="ada", now=START + DAY, verify=sound
        )

        assert promotion is not None
        assert (promotion.promoted, promotion.by) == (candidate, "ada")
        assert (test.outcome, test.reason) == ("promote", "Decided by ada: It is needed.")
        assert Decision.objects.get(final=True).promotion == promotion

    def test_a_person_rejects_with_a_reason(self, candidate: ModelVersion) -> None:
        test = propose(candidate)

        lifecycle.decide_manually(test, promote=False, reason="No.", by="ada", now=START + DAY, verify=sound)

        assert (test.outcome, role(candidate)) == ("reject", Role.RETIRED)

    @pytest.mark.parametrize(("promote", "outcome"), [(True, "promote"), (False, "reject")])
    def test_a_waiting_experiment_can_be_decided_too(
        self, candidate: ModelVersion, promote: bool, outcome: str
    ) -> None:
        propose(candidate)
        waiting = propose(make_version("2026w49.1"))

        lifecycle.decide_manually(
            waiting, promote=promote, reason="I know.", by="ada", now=START + DAY, verify=sound
        )

        assert (waiting.outcome, waiting.started_at) == (outcome, None)
        assert waiting.decisions.get().evidence["wins"] == 0

    def test_the_challenger_of_a_stopped_experiment_is_a_candidate_again(
        self, candidate: ModelVersion
    ) -> None:
        test = propose(candidate)

        lifecycle.stop_experiment(test, reason="A fault.", by="ada", now=START + DAY)

        assert (test.outcome, role(candidate)) == ("void", Role.CANDIDATE)

    @pytest.mark.parametrize("reason", ["", "  "])
    def test_a_decision_needs_a_reason(self, candidate: ModelVersion, reason: str) -> None:
        test = propose(candidate)

        with pytest.raises(lifecycle.ExperimentNotAllowed, match="Give a reason"):
            lifecycle.stop_experiment(test, reason=reason, by="ada", now=START)

    def test_an_ended_experiment_can_not_be_stopped_or_decided(self, candidate: ModelVersion) -> None:
        test = propose(candidate)
        lifecycle.stop_experiment(test, reason="A fault.", by="ada", now=START + DAY)

        with pytest.raises(lifecycle.ExperimentNotAllowed, match="is over"):
            lifecycle.stop_experiment(test, reason="Again.", by="ada", now=START + DAY)


def test_an_aa_test_can_start_at_any_time(champion: ModelVersion) -> None:
    test = propose(champion, "equals", list_share=1.0)
    rounds(test, wins=500, losses=490)

    assert ended(test, after=7).status == "running"
    assert role(champion) == Role.CHAMPION
    assert ended(test, after=14).outcome == "inconclusive"


def test_an_aa_test_ends_when_a_candidate_waits(champion: ModelVersion, candidate: ModelVersion) -> None:
    equals = propose(champion, "equals", list_share=1.0)
    test = propose(candidate)
    again = propose(champion, "equals", list_share=1.0)
    equals.refresh_from_db()

    assert (equals.outcome, equals.reason) == ("void", f"It made room for the test of {candidate}.")
    assert (test.status, again.status) == ("running", "waiting")


def test_a_waiting_aa_test_comes_after_a_waiting_candidate(
    champion: ModelVersion, candidate: ModelVersion
) -> None:
    first = propose(candidate)
    second = propose(make_version("2026w49.1"))
    equals = propose(champion, "equals", list_share=1.0)
    lifecycle.stop_experiment(first, reason="enough", by="ada", now=START)
    lifecycle.start_next_experiment(START)
    second.refresh_from_db()
    equals.refresh_from_db()

    assert (second.status, equals.status) == ("running", "waiting")


def test_the_rounds_of_a_deleted_listener_are_gone(candidate: ModelVersion) -> None:
    test = propose(candidate, list_share=1.0)
    rounds(test, wins=60, losses=0, listeners=2, days=30)

    Listener.objects.filter(pk=2).delete()
    numbers, _ = statistics.gather_evidence(test, START + 40 * DAY)

    assert (numbers.listeners, numbers.wins) == (1, 30)
