"""A simulated experiment through the tables: rows of lists, likes, imports and daily reviews."""

import pytest

from benchmarks.decisions.simulation.database_experiments import run_in_tables
from benchmarks.decisions.simulation.experiment_run import SimulatedExperiment, run_experiment
from benchmarks.decisions.simulation.listener_reactions import ListenerGroup
from recommender.engine.experiments.evidence import ExperimentKind
from recommender.models import Decision

pytestmark = pytest.mark.django_db


@pytest.mark.slow
def test_a_worse_refresh_ends_in_the_tables_as_in_the_fast_simulation() -> None:
    worse = SimulatedExperiment(ExperimentKind.REFRESH, ListenerGroup(listeners=24, effect=-0.2))

    found, expected = run_in_tables(worse, 3), run_experiment(worse, 3)

    assert found == expected
    assert (found.outcome, found.day) == ("reject", 13)
    assert (
        Decision.objects.get(final=True).evidence["losses"]
        > Decision.objects.get(final=True).evidence["wins"]
    )
