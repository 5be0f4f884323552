"""The simulation's report: reactions to injected events, and findings without a cause."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from ingestion.models import Incident
from moovitamix.management.commands.simulate import find_scenario, format_findings, format_unplanned
from moovitamix.simulation.report import PlantedEvent, judge_events, judge_unplanned
from recommender.models import DriftReport, Experiment, ModelVersion, Promotion
from tests.support.builders.experiments import DAY, START, make_experiment, make_version

pytestmark = pytest.mark.django_db


def planted(kind: str, since: datetime = START, days: int = 7) -> PlantedEvent:
    return PlantedEvent(kind, kind, since, since + days * DAY)


def open_incident(kind: str, at: datetime) -> Incident:
    return Incident.objects.create(key=kind, kind=kind, severity="warning", opened_at=at, seen_at=at)


def unplanned(*events: PlantedEvent) -> dict[str, list[str]]:
    return {one.name: one.found for one in judge_unplanned(list(events)) if one.found}


def raise_drift_alarm(at: datetime) -> None:
    version = ModelVersion.objects.first() or make_version("2026w40.1")
    DriftReport.objects.create(
        kind="listening", version=version, at=at, week=at.date(), alarm=True, effect=0.3, limit=0.1,
        p=0.01, n=100,
    )  # fmt: skip


def test_a_quiet_life_is_right_and_unproven_refreshes_are_no_fault() -> None:
    open_incident("refreshes_unproven", START)

    assert unplanned() == {}
    assert format_unplanned(judge_unplanned([])).splitlines()[1].split() == [
        "incidents", "without", "a", "cause", "none", "yes",
    ]  # fmt: skip


def test_an_incident_is_right_only_while_its_cause_lasts() -> None:
    open_incident("run_failed", START + DAY)
    outage = planted("outage", days=2)

    assert unplanned(outage) == {}
    assert unplanned(planted("outage", START + 2 * DAY)) == {
        "incidents without a cause": ["run_failed on 03 Nov"]
    }


def test_an_alarm_before_its_drift_is_false() -> None:
    raise_drift_alarm(START)

    assert unplanned(planted("drift", START - DAY, 0)) == {}
    assert unplanned(planted("drift", START + DAY, 0)) == {
        "drift alarms without a drift": ["organic listening on 02 Nov"]
    }


def test_bad_champions_rollbacks_and_invalid_experiments_are_listed() -> None:
    below = {"popularity": {"difference": -0.02, "low": -0.03, "high": -0.01, "listeners": 60}}
    first = make_version("2026w44.1", "withdrawn", cohesion={"r2": 0.5, "silhouette_macro": 0.4})
    second = make_version(
        "2026w45.1", "champion", metrics={"against_baselines": below},
        cohesion={"r2": 0.1, "silhouette_macro": 0.1},
    )  # fmt: skip
    Promotion.objects.create(promoted=second, replaced=first, reason="Better.", by="test", at=START)
    Promotion.objects.create(
        promoted=second, replaced=first, reason="Worse.", by="test", at=START, rollback=True
    )
    make_experiment("refresh", status="ended", outcome="invalid", ended_at=START, reason="Lists are lost.",
                    champion=first, challenger=second)  # fmt: skip

    assert {name: len(found) for name, found in unplanned().items()} == {
        "rollbacks without a cause": 1, "invalid experiments": 1, "champions below a simple baseline": 1,
        "champions with far less cohesive clusters": 1,
    }  # fmt: skip


def test_a_quiet_life_tests_nothing_but_refreshes() -> None:
    make_experiment("refresh", status="ended", outcome="promote", ended_at=START)
    refreshes_alone = unplanned()
    change = make_experiment("change", created_at=START + DAY)

    assert refreshes_alone == {}
    assert unplanned() == {
        "changes tested without a cause": [f"experiment {change.pk} of 2026w45.1 on 03 Nov"]
    }
    assert unplanned(planted("better", days=0)) == {}


@pytest.mark.parametrize(("hours", "is_right"), [(2, True), (24.01, True), (30, False)])
def test_a_broken_challenger_must_be_withdrawn_within_a_day(hours: float, is_right: bool) -> None:
    make_experiment(
        status="ended",
        outcome="rollback",
        started_at=START - 5 * DAY,
        ended_at=START + timedelta(hours=hours),
    )
    open_incident("challenger_failed", START + timedelta(hours=hours))

    (finding,) = judge_events([planted("broken")])

    assert finding.is_right is is_right


def test_while_sessions_are_late_no_experiment_is_decided() -> None:
    test = make_experiment(started_at=START - 5 * DAY)
    short, waits = judge_events([planted("late", days=2), planted("late")])
    open_incident("experiment_waits", START + DAY)
    reported = judge_events([planted("late")])[0]
    type(test).objects.update(status="ended", outcome="promote", ended_at=START + 3 * DAY)
    decided = judge_events([planted("late")])[0]

    # Two late mornings leave no list older than 72 hours open.
    assert [one.is_right for one in (short, waits, reported, decided)] == [True, False, True, False]


def test_worse_refreshes_must_not_be_promoted_silently() -> None:
    replaced = make_version("2026w44.1", "retired")
    for number in (1, 2):
        worse = make_version(f"2026w46.{number}", "retired", seconds=0.0, created_at=START + DAY)
        Promotion.objects.create(
            promoted=worse, replaced=replaced, reason="Equal.", by="test", at=START + DAY
        )
    silent = judge_events([planted("ratchet", days=84)])[0]
    open_incident("refreshes_unproven", START + 30 * DAY)
    reported = judge_events([planted("ratchet", days=84)])[0]

    assert (silent.is_right, reported.is_right) == (False, True)
    assert reported.reaction.startswith("2 of 2 worse refreshes promoted; incident")


@pytest.mark.parametrize(
    ("state", "is_right", "reaction"),
    [
        ({"status": "running"}, None, "2026w45.1, experiment"),
        ({"status": "ended", "outcome": "reject", "ended_at": START + DAY}, True, "2026w45.1, experiment"),
        ({"status": "ended", "outcome": "promote", "ended_at": START + DAY}, False, "2026w45.1, experiment"),
        ({"status": "ended", "outcome": "void", "ended_at": START + DAY}, False, "2026w45.1, experiment"),
        (
            {"status": "ended", "outcome": "void", "ended_at": START + DAY, "started_at": None}, True,
            "2026w45.1, experiment",
        ),
    ],
)  # fmt: skip
def test_a_corrupted_candidate_must_lose_its_experiment_or_reach_no_listener(
    state: dict[str, Any], is_right: bool | None, reaction: str
) -> None:
    test = make_experiment(started_at=START)
    Experiment.objects.filter(pk=test.pk).update(**state)

    (found,) = judge_events([replace(planted("worse"), subject=test.challenger.label)])

    assert found.is_right is is_right
    assert found.reaction.startswith(reaction.replace("2026w45.1", test.challenger.label))


def test_a_scenario_is_found_by_its_name_or_its_path() -> None:
    assert find_scenario("quiet").is_file()
    assert str(find_scenario("mine/own.json")) == "mine/own.json"


def test_an_experiment_that_has_not_ended_is_not_judged() -> None:
    experiment = make_experiment()

    (finding,) = judge_events(
        [PlantedEvent("better", "a better method", START, START, experiment.champion.label)]
    )

    assert finding.is_right is None
    assert finding.reaction == f"{experiment.challenger}, experiment {experiment.pk}: Running"
    assert "not over" in format_findings([finding])
