"""The report of a simulation: what it says of an event from the rows of the database."""

import pytest

from moovitamix.management.commands.simulate import format_findings
from moovitamix.simulation.report import PlantedEvent, judge_events
from tests.support.builders.experiments import START, make_experiment

pytestmark = pytest.mark.django_db


def test_an_experiment_that_has_not_ended_is_not_judged() -> None:
    experiment = make_experiment()
    planted = PlantedEvent("better", "a better method", START, START, experiment.champion.label)

    (finding,) = judge_events([planted])

    assert finding.is_right is None
    assert finding.reaction == f"{experiment.challenger}, experiment {experiment.pk}: Running"
    assert "not over" in format_findings([finding])
