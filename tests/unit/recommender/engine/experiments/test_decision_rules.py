"""Decision rules: which rule applies first, and at which number the verdict changes."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from recommender.engine.experiments.decision_rules import apply_decision_rules
from recommender.engine.experiments.decision_thresholds import (
    DEFAULT_RULES,
    RULES_VERSION_1,
    RULES_VERSION_2,
    RULES_VERSION_3,
    DecisionRules,
)
from recommender.engine.experiments.evidence import (
    AllocationCheck,
    DecisionOutcome,
    ExperimentEvidence,
    GuardrailDifference,
    format_evidence_ratio,
)

FAIR = AllocationCheck("Arms", 500, 500, 0.5)
CROOKED = AllocationCheck("Arms", 600, 400, 0.5)
WORSE = GuardrailDifference("Engagement", -0.3, -0.5, -0.1, challengers=30, champions=30)


def refresh(**numbers: object) -> ExperimentEvidence:
    usual = {"days": 13, "wins": 20, "losses": 20, "listeners": 25, "z": 0.0, "gate": True}
    known: dict[str, Any] = {**usual, **numbers}
    known.setdefault("capped_balance", float(known["wins"] - known["losses"]))
    return ExperimentEvidence("refresh", **known)


def change(**numbers: object) -> ExperimentEvidence:
    usual = {"days": 31, "wins": 120, "losses": 70, "late_wins": 5, "late_losses": 5, "listeners": 60,
             "winners": 35, "losers": 20, "ties": 5, "trimmed_wins": 100, "trimmed_losses": 55,
             "preference": 0.3, "preference_error": 0.05}  # fmt: skip
    return ExperimentEvidence("change", **{**usual, **numbers})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("evidence", "outcome"),
    [
        (refresh(days=12), DecisionOutcome.WAITING),
        (refresh(days=13), DecisionOutcome.PROMOTE),
        (refresh(open_lists=1), DecisionOutcome.WAITING),
        (refresh(z=-0.749, wins=15, losses=25), DecisionOutcome.PROMOTE),
        (refresh(z=-0.751, wins=15, losses=25), DecisionOutcome.REJECT),
        (refresh(z=-math.inf, wins=15, losses=25), DecisionOutcome.REJECT),
        (refresh(listeners=19, wins=15, losses=25, z=-2.0), DecisionOutcome.WAITING),
        (refresh(listeners=20, wins=15, losses=25, z=-2.0), DecisionOutcome.REJECT),
        (refresh(wins=10, losses=19, z=-2.0), DecisionOutcome.WAITING),
        (refresh(wins=10, losses=20, z=-2.0), DecisionOutcome.REJECT),
        (refresh(days=13, wins=0, losses=0, listeners=0), DecisionOutcome.WAITING),
        (refresh(days=14, wins=0, losses=0, listeners=0), DecisionOutcome.PROMOTE),
        (refresh(days=14, wins=0, losses=0, listeners=0, gate=None), DecisionOutcome.PROMOTE),
        (refresh(days=14, wins=0, losses=0, listeners=0, gate=False), DecisionOutcome.REJECT),
        (refresh(days=14, wins=0, losses=0, listeners=0, open_lists=3), DecisionOutcome.WAITING),
        (refresh(days=14, gate=False), DecisionOutcome.PROMOTE),
        # After two refreshes in a row that did not win, three weeks more.
        (refresh(days=33, unproven=2), DecisionOutcome.WAITING),
        (refresh(days=34, unproven=2), DecisionOutcome.PROMOTE),
        # Of 200 rounds 97 won are z = -.42, which a refresh after two unproven ones may not have.
        (refresh(days=34, unproven=2, wins=97, losses=103, z=-0.42), DecisionOutcome.REJECT),
        (refresh(days=34, unproven=2, wins=97, losses=103, z=-0.29), DecisionOutcome.PROMOTE),
        (refresh(days=13, unproven=1, wins=97, losses=103, z=-0.42), DecisionOutcome.PROMOTE),
        (refresh(days=13, unproven=1), DecisionOutcome.PROMOTE),
        # Bots win most rounds, the others lose theirs.
        (refresh(wins=30, losses=20, capped_balance=-8.0, z=-2.0), DecisionOutcome.REJECT),
    ],
)
def test_a_refresh_is_promoted_unless_it_is_worse(
    evidence: ExperimentEvidence, outcome: DecisionOutcome
) -> None:
    assert apply_decision_rules(evidence).outcome == outcome


@pytest.mark.parametrize(
    ("evidence", "outcome"),
    [
        (change(), DecisionOutcome.PROMOTE),
        (change(days=30), DecisionOutcome.WAITING),
        (change(late_wins=4, late_losses=5), DecisionOutcome.WAITING),
        (change(wins=100, losses=90), DecisionOutcome.WAITING),
        (change(days=59, wins=100, losses=90), DecisionOutcome.WAITING),
        (change(days=60, wins=100, losses=90), DecisionOutcome.INCONCLUSIVE),
        (change(days=60), DecisionOutcome.PROMOTE),
        (change(days=3, wins=70, losses=120), DecisionOutcome.REJECT),
        (change(days=0, wins=0, losses=0), DecisionOutcome.WAITING),
        (change(recent_wins=4, recent_losses=5), DecisionOutcome.WAITING),
        (change(recent_wins=5, recent_losses=5), DecisionOutcome.PROMOTE),
        # Few listeners decide nothing, however many rounds they win.
        (change(wins=45, losses=6, listeners=1, preference=1.0), DecisionOutcome.WAITING),
        (change(listeners=19, preference=1.0), DecisionOutcome.WAITING),
        (change(winners=19, losers=0, ties=0, preference=1.0), DecisionOutcome.WAITING),
        # A tenth of bots makes a preference of .1. It must be exceeded by 1.3 standard errors on day 60, and
        # by 60/31 times as many on day 31.
        (change(preference=0.225), DecisionOutcome.WAITING),
        (change(preference=0.227), DecisionOutcome.PROMOTE),
        (change(days=60, preference=0.164), DecisionOutcome.INCONCLUSIVE),
        (change(days=60, preference=0.166), DecisionOutcome.PROMOTE),
    ],
)
def test_a_change_must_win(evidence: ExperimentEvidence, outcome: DecisionOutcome) -> None:
    assert apply_decision_rules(evidence).outcome == outcome


@pytest.mark.parametrize(
    "evidence", [refresh(), refresh(days=40, wins=0, losses=0), change(), change(days=60)]
)
def test_without_imported_listening_nothing_is_decided(evidence: ExperimentEvidence) -> None:
    found = apply_decision_rules(replace(evidence, feed="the history is empty."))

    assert found.outcome == DecisionOutcome.WAITING
    assert found.reason == "It waits for the listening history: the history is empty."


@pytest.mark.parametrize(
    ("evidence", "outcome"),
    [
        (refresh(days=5), DecisionOutcome.WAITING),
        (refresh(days=6), DecisionOutcome.PROMOTE),
        (refresh(days=6, z=-0.841), DecisionOutcome.REJECT),
        (refresh(days=14, wins=0, losses=0, listeners=0), DecisionOutcome.PROMOTE),
        (change(days=20), DecisionOutcome.WAITING),
        (change(days=21, winners=0, losers=9), DecisionOutcome.PROMOTE),
        (change(days=21, hard_failure="It breaks.", coins=(CROOKED,)), DecisionOutcome.INVALID),
    ],
)
def test_decisions_of_the_first_version_keep_their_rules(
    evidence: ExperimentEvidence, outcome: DecisionOutcome
) -> None:
    assert apply_decision_rules(evidence, RULES_VERSION_1).outcome == outcome


def test_a_refresh_after_unproven_ones_keeps_the_rules_of_version_2_in_decisions_of_that_version() -> None:
    evidence = refresh(days=34, unproven=2, wins=97, losses=103, z=-0.42)

    assert apply_decision_rules(evidence, RULES_VERSION_2).outcome == DecisionOutcome.PROMOTE


def test_a_change_that_waits_says_which_preference_it_needs() -> None:
    reason = apply_decision_rules(change(days=40, preference=0.15)).reason

    assert reason.endswith("35 listeners prefer it, 20 do not (mean preference +0.15, needed +0.20).")


@pytest.mark.parametrize(
    ("evidence", "outcome"),
    [
        (change(preference=0.0), DecisionOutcome.PROMOTE),
        (change(winners=3, losers=30), DecisionOutcome.WAITING),
        (change(winners=33, losers=21), DecisionOutcome.WAITING),
        (change(trimmed_wins=90, trimmed_losses=70), DecisionOutcome.WAITING),
    ],
)
def test_a_change_keeps_the_rules_of_version_3_in_decisions_of_that_version(
    evidence: ExperimentEvidence, outcome: DecisionOutcome
) -> None:
    assert apply_decision_rules(evidence, RULES_VERSION_3).outcome == outcome


def test_rules_that_were_stored_without_a_version_are_those_of_the_first() -> None:
    assert DecisionRules(equals_days=14) == RULES_VERSION_1
    assert DEFAULT_RULES.version == 4


@pytest.mark.parametrize(
    ("wins", "losses", "outcome"),
    [
        (70, 120, DecisionOutcome.ROLLBACK),
        (90, 100, DecisionOutcome.WAITING),
        (120, 70, DecisionOutcome.WAITING),
        (0, 0, DecisionOutcome.WAITING),
    ],
)
def test_the_anchor_is_restored_if_the_champion_loses(
    wins: int, losses: int, outcome: DecisionOutcome
) -> None:
    assert (
        apply_decision_rules(ExperimentEvidence("anchor", days=3, wins=wins, losses=losses)).outcome
        == outcome
    )


def test_an_aa_test_with_a_difference_is_invalid() -> None:
    assert (
        apply_decision_rules(ExperimentEvidence("equals", days=3, wins=120, losses=70)).outcome
        == DecisionOutcome.INVALID
    )
    assert (
        apply_decision_rules(ExperimentEvidence("equals", days=3, wins=9, losses=11)).outcome
        == DecisionOutcome.WAITING
    )
    assert (
        apply_decision_rules(ExperimentEvidence("equals", days=60, wins=90, losses=95)).outcome
        == DecisionOutcome.INCONCLUSIVE
    )


@pytest.mark.parametrize(
    "fault",
    [{"coins": (FAIR, CROOKED)}, {"leaked": 1}, {"crossed": 0.011}],
    ids=["coin", "leak", "crossover"],
)
@pytest.mark.parametrize("evidence", [refresh, change])
def test_an_invalid_experiment_promotes_nothing(evidence, fault) -> None:  # type: ignore[no-untyped-def]
    assert apply_decision_rules(evidence(**fault)).outcome == DecisionOutcome.INVALID


def test_a_failing_challenger_is_stopped_even_if_its_failures_make_the_experiment_invalid() -> None:
    found = apply_decision_rules(refresh(coins=(CROOKED,), hard_failure="It breaks."))

    assert found.outcome == DecisionOutcome.ROLLBACK


def test_fair_allocations_and_few_crossovers_are_valid() -> None:
    assert (
        apply_decision_rules(refresh(coins=(FAIR, AllocationCheck("None", 0, 0, 0.3)), crossed=0.01)).outcome
        == DecisionOutcome.PROMOTE
    )


def test_a_hard_failure_rolls_back_at_once() -> None:
    found = apply_decision_rules(refresh(days=0, hard_failure="12 % of its answers are errors."))

    assert found.outcome == DecisionOutcome.ROLLBACK
    assert found.reason == "12 % of its answers are errors."


@pytest.mark.parametrize(
    ("rail", "days", "outcome"),
    [
        (WORSE, 7, DecisionOutcome.ROLLBACK),
        (WORSE, 6, DecisionOutcome.WAITING),
        (
            GuardrailDifference("Engagement", -0.3, -0.5, -0.1, challengers=29, champions=30),
            13,
            DecisionOutcome.PROMOTE,
        ),
        (
            GuardrailDifference("Engagement", -0.3, -0.7, 0.1, challengers=30, champions=30),
            13,
            DecisionOutcome.PROMOTE,
        ),
    ],
)
def test_a_significantly_lower_guardrail_rolls_back(
    rail: GuardrailDifference, days: int, outcome: DecisionOutcome
) -> None:
    assert apply_decision_rules(refresh(days=days, guardrails=(rail,))).outcome == outcome


def test_stored_evidence_gives_the_same_verdict() -> None:
    evidence = change(coins=(FAIR,), guardrails=(WORSE,), days=5)

    stored = ExperimentEvidence.from_json(json.loads(json.dumps(evidence.as_json())))

    assert stored == evidence
    assert apply_decision_rules(stored) == apply_decision_rules(evidence)


def test_numbers_of_a_verdict_fit_into_json() -> None:
    found = apply_decision_rules(refresh(z=math.inf))

    assert json.loads(json.dumps(found.numbers, allow_nan=False))["z"] == 1e9


@pytest.mark.parametrize(
    ("odds", "told"),
    [(9.24, "9.2 : 1"), (1, "1.0 : 1"), (1 / 14.8, "1 : 15"), (1 / 3.8, "1 : 3.8"), (20_512, "20,512 : 1"),
     (1.83e12, "over 1,000,000 : 1"), (1e-9, "1 : over 1,000,000")],
)  # fmt: skip
def test_e_values_are_formatted_as_ratios(odds: float, told: str) -> None:
    assert format_evidence_ratio(math.log(odds)) == told
