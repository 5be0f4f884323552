"""Experiments from the proposal to the verdict and its effect on roles and promotions."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from ingestion.models import Listener
from recommender.engine.artifact import ArtifactDamaged
from recommender.experiments import decisions, lifecycle, statistics
from recommender.models import (
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
from recommender.registry import registry
from recommender.registry.registry import NotPromotable
from tests.support.builders.experiments import (
    DAY,
    START,
    make_interleaved_list,
    make_listeners_and_songs,
    make_version,
)

pytestmark = pytest.mark.django_db

Role = ModelVersion.Role
TEAMS = [False, True]


def sound(one: ModelVersion) -> None:
    """Every artifact is as it was written."""


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


def rounds(test: Experiment, *, wins: int, losses: int, listeners: int = 60, days: int = 20) -> None:
    """Scored lists, won and lost evenly over listeners and days."""
    rows, served = [], []
    number = listeners * days
    for place in range(number):
        listener, day = place % listeners + 1, place // listeners
        at = START + day * DAY
        served.append((listener, at, day))
        won = wins * (place + 1) // number - wins * place // number
        lost = losses * (place + 1) // number - losses * place // number
        rows.append((won, lost))
    shelf = make_interleaved_list(test, 1, START - DAY, [10, 11], TEAMS).candidate_list
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


def ended(test: Experiment, after: int = 22) -> Experiment:
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
    assert promotion.reason.startswith("Better: 700 rounds won, 500 lost, odds ")
    assert promotion.decision.final
    assert role(candidate) == Role.CHAMPION


def test_a_change_waits_for_its_days_and_each_daily_decision_is_stored(candidate: ModelVersion) -> None:
    test = propose(candidate, list_share=1.0)
    rounds(test, wins=700, losses=500)

    assert ended(test, after=20).status == "running"
    assert list(Decision.objects.values_list("outcome", "final")) == [("waiting", False)]


def test_a_change_that_loses_is_rejected(candidate: ModelVersion) -> None:
    test = propose(candidate, list_share=1.0)
    rounds(test, wins=300, losses=500)

    assert ended(test, after=5).outcome == "reject"
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
    rounds(test, wins=500, losses=490)
    ended(test, after=13)
    stored = Decision.objects.get()
    stored.evidence["days"] = 40
    del stored.rules["equals_days"]

    replayed = decisions.replay_decision(stored)

    assert stored.verdict["reason"] == "Two arms of the same model: 500 to 490, odds 1 : 4.9."
    assert replayed.same


def test_a_decision_with_changed_evidence_is_recomputed_differently(candidate: ModelVersion) -> None:
    test = propose(candidate, list_share=1.0)
    rounds(test, wins=700, losses=500)
    ended(test)
    decision = Decision.objects.get(final=True)
    decision.evidence["wins"] = 500

    assert not decisions.replay_decision(decision).same


def test_too_many_lists_for_their_share_make_an_experiment_invalid(candidate: ModelVersion) -> None:
    test = propose(candidate, list_share=0.7)
    rounds(test, wins=700, losses=500)

    assert ended(test).outcome == "invalid"
    assert role(candidate) == Role.CANDIDATE
    assert test.reason.startswith("Lists of the test: 1200 of 1200 where 70% was planned.")


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


@pytest.mark.parametrize(("errors", "outcome"), [(1, ""), (2, "rollback")])
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


def test_a_refresh_that_is_not_worse_is_promoted_on_the_sixth_day(candidate: ModelVersion) -> None:
    test = propose(candidate, "refresh", list_share=1.0)
    rounds(test, wins=100, losses=100, days=5)

    assert ended(test, after=5).status == "running"
    assert ended(test, after=6).outcome == "promote"


def test_the_waiting_experiment_starts_when_the_running_one_ends(candidate: ModelVersion) -> None:
    first = propose(candidate, list_share=1.0)
    second = propose(make_version("2026w46.1"), "refresh")
    rounds(first, wins=300, losses=500)

    ended(first, after=5)

    second.refresh_from_db()
    assert (second.status, second.started_at) == ("running", START + 5 * DAY)


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
        assert "The champion is worse than what served 28 days ago" in promotion.reason

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

        lifecycle.judge_experiments(START + 10 * DAY, verify)

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
    numbers, _ = statistics.gather_evidence(test, START + 30 * DAY)

    assert (numbers.listeners, numbers.wins) == (1, 30)
