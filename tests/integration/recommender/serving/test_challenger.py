"""Lists during an experiment: interleaved or by one model, scored, replayed, safe from the challenger."""

import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ingestion.models import Listener
from recommender import validation
from recommender.engine.artifact import verify_files
from recommender.experiments import assignment, lifecycle, serving_errors
from recommender.models import (
    CandidateList,
    EngagedList,
    Experiment,
    Exposure,
    Feedback,
    ModelVersion,
    ScoredList,
    ServedList,
    ServingError,
)
from recommender.registry import model_loader, registry
from recommender.serving import recommendations
from recommender.serving.candidates import candidate_cache
from recommender.serving.list_limits import ServingOptions
from recommender.serving.reasons.explanations import serialize_list
from recommender.training.train import TrainingOptions, retrain
from tests.support.builders.recommendations import RECOMMENDED_AT, song_ids

# From the third day on an experiment has its whole share of the lists.
RAMPED_AT = RECOMMENDED_AT - timedelta(days=2)


@pytest.fixture(scope="module")
def trained_challenger(trained: Path, django_db_blocker: Any) -> int:
    """The primary key of a second version, trained once beside the champion and undone with it."""
    with django_db_blocker.unblock():
        run = retrain(TrainingOptions(storage=trained, n_clusters=5, seed=11))
    assert run.version is not None
    return run.version.pk


@pytest.fixture
def here(trained_challenger: int, storage: Path) -> ServingOptions:
    return ServingOptions(storage)


@pytest.fixture
def challenger(trained_challenger: int, here: ServingOptions) -> ModelVersion:
    return ModelVersion.objects.get(pk=trained_challenger)


@pytest.fixture(autouse=True)
def _look_at_once() -> Iterator[None]:
    assignment.RUNNING_EXPERIMENTS.invalidate()
    yield
    assignment.RUNNING_EXPERIMENTS.invalidate()


def start(challenger: ModelVersion, kind: str = "change", **shares: Any) -> Experiment:
    shares = {"list_share": 1.0, **shares}
    test = lifecycle.propose_experiment(challenger, kind=kind, gates={}, by="test", now=RAMPED_AT, **shares)
    assignment.RUNNING_EXPERIMENTS.invalidate()
    return test


def recommend(here: ServingOptions, listener: int = 470, **asked: object) -> ServedList:
    return recommendations.recommend(listener, options=here, now=RECOMMENDED_AT, **asked)  # type: ignore[arg-type]


def test_an_interleaved_list_has_songs_of_both_models_in_rounds(
    here: ServingOptions, challenger: ModelVersion
) -> None:
    test = start(challenger)

    served = recommend(here)

    told = serialize_list(served)
    assert (told["arm"], served.experiment) == ("interleaved", test)
    assert told["model_version"] == f"{test.champion.label}+{challenger.label}"
    assert len(set(song_ids(served))) == 20
    teams = [item["by_challenger"] for item in served.items]
    assert all(one != other for one, other in zip(teams[::2], teams[1::2], strict=True))
    own = [item["p_challenger" if item["by_challenger"] else "p_champion"] for item in served.items]
    assert own == [item["propensity"] for item in served.items]
    assert served.milliseconds is not None


def test_the_first_list_of_a_day_counts_and_says_who_began(
    here: ServingOptions, challenger: ModelVersion
) -> None:
    test = start(challenger)

    first = recommend(here)
    recommend(here)

    row = ScoredList.objects.get(experiment=test)
    assert (row.served_list, row.rounds) == (first, 10)
    assert row.first_picks == sum(item["by_challenger"] for item in first.items[::2])


def test_an_interleaved_list_and_its_pages_replay_bit_for_bit(
    here: ServingOptions, challenger: ModelVersion
) -> None:
    start(challenger)
    served = recommend(here, exclude=[1, 2, 3])
    recommendations.continue_list(served.pk, upto=40, options=here)
    CandidateList.objects.exclude(
        pk__in=[served.candidate_list_id, served.challenger_candidate_list_id]
    ).delete()

    replayed = recommendations.replay_list(served.pk)

    assert replayed.same
    assert len(replayed.drawn) == 40


def test_each_model_has_its_own_candidate_list(here: ServingOptions, challenger: ModelVersion) -> None:
    test = start(challenger)
    recommend(here)
    before = CandidateList.objects.filter(listener=470).count()

    recommend(here)

    versions = set(CandidateList.objects.filter(listener=470).values_list("version", flat=True))
    assert {test.champion_id, challenger.pk} <= versions
    assert CandidateList.objects.filter(listener=470).count() == before


def test_pruning_keeps_the_candidate_lists_of_a_running_experiment(
    here: ServingOptions, challenger: ModelVersion
) -> None:
    start(challenger)
    loaded = model_loader.current_model(here.storage)
    rival = model_loader.loader_for(here.storage).load_challenger(challenger)
    candidate_cache.prepare_lists([470], loaded, RECOMMENDED_AT)
    candidate_cache.prepare_lists([470], model_loader.LoadedModel(rival, None), RECOMMENDED_AT)

    candidate_cache.prune_lists([470], RECOMMENDED_AT + timedelta(hours=1))

    left = set(CandidateList.objects.filter(listener=470).values_list("version", flat=True))
    assert {loaded.version_id, challenger.pk} <= left


def test_a_song_of_its_own_is_drawn_by_the_days_test_and_counts_for_nothing(
    here: ServingOptions, challenger: ModelVersion
) -> None:
    test = start(challenger)

    served = recommendations.next_song(470, options=here, now=RECOMMENDED_AT)

    assert (served.arm, len(served.items)) == ("interleaved", 1)
    assert not ScoredList.objects.filter(experiment=test).exists()


def test_listeners_in_the_split_get_one_model_and_are_recorded_as_exposed(
    here: ServingOptions, challenger: ModelVersion
) -> None:
    test = start(challenger, split_share=1.0)

    lists = [recommend(here, listener) for listener in Listener.objects.values_list("pk", flat=True)[:30]]

    arms = Counter(str(one.arm) for one in lists)
    assert set(arms) == {"champion", "challenger"}
    assert min(arms.values()) >= 6
    for one in lists:
        assert one.version == (challenger if one.arm == "challenger" else test.champion)
        assert one.challenger_candidate_list is None
    assert Counter(Exposure.objects.values_list("arm", flat=True)) == arms
    assert not ScoredList.objects.exists()


def test_a_list_of_the_challenger_alone_replays(here: ServingOptions, challenger: ModelVersion) -> None:
    start(challenger, split_share=1.0)
    lists = [recommend(here, listener) for listener in Listener.objects.values_list("pk", flat=True)[:8]]

    alone = next(one for one in lists if one.arm == "challenger")

    assert recommendations.replay_list(alone.pk).same


def test_a_challenger_whose_files_are_damaged_harms_no_listener(
    here: ServingOptions, challenger: ModelVersion
) -> None:
    test = start(challenger)
    for file in (here.storage / challenger.label).glob("*.npy"):
        file.write_bytes(file.read_bytes()[:-1] + b"\0")

    served = recommend(here)

    assert (served.arm, served.version, served.experiment) == ("champion", test.champion, None)
    assert ServingError.objects.get().kind == "artifact"


def test_after_a_verdict_the_served_version_is_the_one_brought_back(
    here: ServingOptions, challenger: ModelVersion
) -> None:
    old = registry.current_champion()
    assert old is not None

    def verify(one: ModelVersion) -> None:
        verify_files(here.storage / one.label, one.artifact_sha256)

    registry.promote(challenger, reason="A try.", by="test", verify=verify)
    model_loader.loader_for(here.storage).reload()
    assert serialize_list(recommend(here))["model_version"] == challenger.label

    registry.roll_back(reason="It was worse.", by="test", verify=verify)
    model_loader.loader_for(here.storage).reload()

    assert serialize_list(recommend(here))["model_version"] == old.label


def test_an_experiment_about_another_champion_changes_nothing(
    here: ServingOptions, challenger: ModelVersion
) -> None:
    test = start(challenger)
    Experiment.objects.filter(pk=test.pk).update(champion=challenger, challenger=test.champion)
    assignment.RUNNING_EXPERIMENTS.invalidate()

    assert recommend(here).arm == "champion"


def test_an_aa_test_interleaves_with_equal_probabilities(
    here: ServingOptions, challenger: ModelVersion
) -> None:
    start(challenger, "equals")

    served = recommend(here)

    assert served.arm == "interleaved"
    assert all(item["p_champion"] == pytest.approx(item["p_challenger"]) for item in served.items)


def test_the_challengers_time_is_measured_apart_from_the_rest(
    here: ServingOptions, challenger: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(challenger, list_share=1.0)
    stock = candidate_cache.load_for_challenger

    def slow(*asked: Any) -> Any:
        until = time.perf_counter() + 0.05
        while time.perf_counter() < until:
            pass
        return stock(*asked)

    monkeypatch.setattr(candidate_cache, "load_for_challenger", slow)

    served = recommend(here)

    assert served.challenger_milliseconds is not None
    assert served.milliseconds is not None
    assert served.milliseconds > served.challenger_milliseconds >= 50


@pytest.mark.parametrize(
    ("challengers", "windows", "slow"),
    [(350.0, 3, True), (350.0, 2, False), (299.0, 3, False), (700.0, 3, True)],
    ids=["three windows", "two windows", "fast enough", "far too slow"],
)
@pytest.mark.parametrize("rest", [20.0, 300.0], ids=["a fast machine", "a slow machine"])
def test_a_challenger_that_is_too_slow_in_three_windows_must_stop(
    here: ServingOptions, challenger: ModelVersion, challengers: float, windows: int, slow: bool, rest: float
) -> None:
    test = start(challenger, list_share=1.0)
    served = recommend(here)
    minutes = [15 * window + at * 0.5 for window in range(windows) for at in range(20)]
    ServedList.objects.bulk_create(
        ServedList(
            listener_id=served.listener_id,
            candidate_list=served.candidate_list,
            version=served.version,
            arm="interleaved",
            generated_at=RECOMMENDED_AT - timedelta(minutes=1 + at),
            discovery=0.3,
            temperature=0.1,
            seed="s",
            experiment=test,
            pages=[],
            items=[{"song": 1}],
            milliseconds=rest + challengers,
            challenger_milliseconds=challengers,
        )
        for at in minutes
    )

    failure = serving_errors.find_hard_failure(test, RECOMMENDED_AT, verify=lambda version: None)

    # Where all the rest is slow too, it is not the challenger's fault unless it is far slower.
    blamed = slow and challengers > 2 * rest
    assert failure == (f"{challenger} answers more than 2 times slower than the champion." if blamed else "")


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 1.0], ids=["by the champion alone", "interleaved"])
def test_the_logs_of_first_places_are_heard_before_a_later_version_is_tested(
    here: ServingOptions, challenger: ModelVersion, share: float
) -> None:
    if share:
        start(challenger, list_share=share)
    listeners = Listener.objects.filter(pk__in=candidate_cache.active_listeners(RECOMMENDED_AT)).values_list(
        "pk", flat=True
    )[:55]
    for place, listener in enumerate(listeners):
        served = recommend(here, listener)
        assert served.version is not None
        EngagedList.objects.create(
            served_list=served, listener_id=listener, version=served.version, at=RECOMMENDED_AT, songs=20
        )
        if place % 3 == 0:
            Feedback.objects.create(
                event_id=str(place), listener_id=listener, song_id=song_ids(served)[0], kind="like",
                served_list=served, at=RECOMMENDED_AT, received_at=RECOMMENDED_AT,
            )  # fmt: skip
    # As if it had been made before these lists were served.
    ModelVersion.objects.filter(pk=challenger.pk).update(cut_off=RECOMMENDED_AT - timedelta(days=1))
    challenger.refresh_from_db()
    later = RECOMMENDED_AT + timedelta(days=1)

    gate = validation._off_policy_gate(model_loader.open_serving_model(challenger, here.storage), later)

    assert len(listeners) == 55
    assert gate.numbers["listeners"] == 55
    assert gate.numbers["old"] == pytest.approx(19 / 55, abs=1e-4)
    # Two versions of the same plays: what one drew the other might have drawn as well.
    assert 0.3 < gate.numbers["support"] < 3
    assert gate.passed is not False
