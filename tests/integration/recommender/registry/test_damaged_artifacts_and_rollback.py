"""Damaged artifacts and withdrawn versions: what listeners are served, and which incidents open."""

import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingestion.models import Incident, Listener, Song
from recommender import retraining, services
from recommender.experiments import assignment, lifecycle, serving_errors
from recommender.models import CandidateList, Experiment, ModelVersion, Promotion, ServedList, ServingError
from recommender.monitoring import health_checks
from recommender.registry import model_loader, registry
from recommender.registry.artifact_folders import FilesInUse
from recommender.registry.registry import NothingToRollBack
from recommender.serving import challenger_trial, recommendations
from recommender.serving.candidates import candidate_cache
from recommender.serving.candidates.candidates import generate_block
from recommender.serving.list_limits import ServingOptions
from recommender.serving.reasons.explanations import serialize_list
from recommender.training.train import TrainingOptions, retrain
from tests.support.builders.recommendations import LISTENER, RECOMMENDED_AT, song_ids

DAY = timedelta(days=1)
OLDEST, OLDER, SERVING, NEW = 0, 1, 2, 3
Versions = list[ModelVersion]
BreaksFor = Callable[[ModelVersion, Callable[[int], bool]], None]


@pytest.fixture(scope="module")
def four(trained: Path) -> Versions:
    """Three champions one after the other, and a candidate."""
    for seed in (11, 12, 13):
        retrain(TrainingOptions(storage=trained, seed=seed, promote=seed < 13))
    return list(ModelVersion.objects.order_by("pk"))


@pytest.fixture
def versions(four: Versions, storage: Path, settings: Any) -> Iterator[Versions]:
    settings.MODEL_STORAGE = storage
    assignment.RUNNING_EXPERIMENTS.invalidate()
    yield list(ModelVersion.objects.order_by("pk"))
    assignment.RUNNING_EXPERIMENTS.invalidate()


def serve(storage: Path, **asked: Any) -> ServedList:
    """A list by a process that has just looked up the champion and the running experiments."""
    assignment.RUNNING_EXPERIMENTS.invalidate()
    model_loader.loader_for(storage).reload()
    return recommendations.recommend(LISTENER, options=ServingOptions(storage), now=RECOMMENDED_AT, **asked)


def version_served(storage: Path) -> str:
    return str(serialize_list(serve(storage))["model_version"])


def roles() -> list[str]:
    return list(ModelVersion.objects.order_by("pk").values_list("role", flat=True))


def begin(challenger: ModelVersion) -> Experiment:
    return lifecycle.propose_experiment(
        challenger, kind="change", gates={}, by="test", now=RECOMMENDED_AT - 2 * DAY, list_share=1.0
    )


def roll_back() -> Promotion:
    return services.roll_back_champion(reason="It misbehaves.", by="ada")


def flip_a_bit(folder: Path) -> None:
    file = folder / "song_ids.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def cut_short(folder: Path) -> None:
    file = folder / "song_ids.npy"
    file.write_bytes(file.read_bytes()[:100])


def lose_a_file(folder: Path) -> None:
    (folder / "cluster_ids.npy").unlink()


def change_the_manifest(folder: Path) -> None:
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace(folder.name, "2020w01.1"))


def take_anothers_arrays(folder: Path) -> None:
    another = next(one for one in sorted(folder.parent.iterdir()) if one != folder)
    for file in another.glob("*.npy"):
        shutil.copyfile(file, folder / file.name)


def empty_an_array(folder: Path) -> None:
    np.save(folder / "song_ids.npy", np.zeros(0, dtype=np.int64))


damages = pytest.mark.parametrize(
    "damage",
    [flip_a_bit, cut_short, lose_a_file, change_the_manifest, take_anothers_arrays, empty_an_array],
)
Damage = Callable[[Path], None]


@pytest.mark.slow
@damages
def test_if_the_champion_is_damaged_the_version_before_serves_and_an_incident_opens(
    versions: Versions, storage: Path, damage: Damage
) -> None:
    damage(storage / versions[SERVING].label)

    served = version_served(storage)
    health_checks.model_degraded(RECOMMENDED_AT)

    assert served == versions[OLDER].label
    incident = Incident.objects.get(resolved_at=None)
    assert (incident.kind, incident.severity) == ("model_degraded", "critical")
    assert incident.facts["reason"].endswith(f"{versions[OLDER].label} serves instead.")


def test_the_files_of_a_version_that_serves_instead_are_not_deleted(
    versions: Versions, storage: Path
) -> None:
    flip_a_bit(storage / versions[SERVING].label)
    assert version_served(storage) == versions[OLDER].label

    with pytest.raises(FilesInUse):
        services.delete_version_files(versions[OLDER].label, reason="Old.", by="ada")

    assert version_served(storage) == versions[OLDER].label


def test_a_version_whose_files_were_deleted_is_neither_tested_nor_a_holdback(
    versions: Versions, storage: Path
) -> None:
    services.delete_version_files(versions[NEW].label, reason="Old.", by="ada")
    gone = ModelVersion.objects.get(pk=versions[NEW].pk)

    with pytest.raises(registry.NotPromotable, match=r"files of .* were deleted: it can't be tested"):
        registry.make_challenger(gone)

    assert serving_errors.is_unservable(gone)
    assert roles()[NEW] == "candidate"


@damages
def test_a_champion_that_is_damaged_at_two_checks_is_rolled_back(
    versions: Versions, storage: Path, damage: Damage
) -> None:
    damage(storage / versions[SERVING].label)
    version_served(storage)

    health_checks.model_degraded(RECOMMENDED_AT)
    after_one = roles()
    health_checks.model_degraded(RECOMMENDED_AT + timedelta(minutes=1))
    after_two = roles()
    served = version_served(storage)
    health_checks.model_degraded(RECOMMENDED_AT + timedelta(minutes=2))

    line = Promotion.objects.first()
    assert line is not None
    assert after_one[SERVING] == "champion"
    assert (after_two[OLDER], after_two[SERVING]) == ("champion", "withdrawn")
    assert (line.rollback, line.by) == (True, "the loop")
    assert line.reason.startswith("Its files are damaged: ")
    assert served == versions[OLDER].label
    assert list(Incident.objects.filter(resolved_at=None).values_list("key", flat=True)) == [
        f"rolled_back:{versions[SERVING].label}"
    ]


def test_two_hosts_that_find_a_damaged_champion_roll_it_back_once(
    versions: Versions, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flip_a_bit(storage / versions[SERVING].label)
    version_served(storage)
    health_checks.model_degraded(RECOMMENDED_AT)
    rolled_back: list[Promotion] = []

    def verify_while_another_host_rolls_back(version: ModelVersion) -> None:
        if not rolled_back:
            rolled_back.append(roll_back())
        services.verify_artifact(version)

    monkeypatch.setattr(health_checks, "verify_artifact", verify_while_another_host_rolls_back)
    health_checks.model_degraded(RECOMMENDED_AT + timedelta(minutes=1))

    assert [line.promoted for line in rolled_back] == [versions[OLDER]]
    assert (roles()[OLDER], roles()[SERVING]) == ("champion", "withdrawn")
    assert Promotion.objects.filter(rollback=True).count() == 1


def test_a_champion_whose_files_are_missing_on_one_machine_stays_champion(
    versions: Versions, storage: Path
) -> None:
    shutil.rmtree(storage / versions[SERVING].label)
    version_served(storage)

    for minute in range(5):
        health_checks.model_degraded(RECOMMENDED_AT + timedelta(minutes=minute))

    assert roles()[SERVING] == "champion"
    assert Incident.objects.get(resolved_at=None).kind == "model_degraded"


@damages
def test_a_damaged_challenger_is_withdrawn_and_the_champion_serves(
    versions: Versions, storage: Path, damage: Damage
) -> None:
    test = begin(versions[NEW])
    damage(storage / versions[NEW].label)

    served = [serve(storage) for _ in range(2)]
    mishaps = ServingError.objects.count()
    retraining.run_daily_review(RECOMMENDED_AT + timedelta(hours=1), services.verify_artifact)

    test.refresh_from_db()
    assert [(one.arm, one.version, len(one.items)) for one in served] == [
        ("champion", versions[SERVING], 20)
    ] * 2
    assert mishaps == 1
    assert (test.outcome, roles()) == ("rollback", ["retired", "retired", "champion", "withdrawn"])
    assert Incident.objects.get(resolved_at=None).key == f"challenger_failed:{test.pk}"
    assert version_served(storage) == versions[SERVING].label


def test_the_watchdog_ends_the_experiment_of_a_challenger_that_can_not_be_loaded(
    versions: Versions, storage: Path
) -> None:
    begin(versions[NEW])
    health_checks.tests_failing(RECOMMENDED_AT)
    before = roles()[NEW]
    cut_short(storage / versions[NEW].label)
    serve(storage)

    health_checks.tests_failing(RECOMMENDED_AT)

    assert (before, roles()[NEW]) == ("challenger", "withdrawn")
    assert Incident.objects.get(resolved_at=None).kind == "challenger_failed"


@pytest.fixture
def breaks_for(monkeypatch: pytest.MonkeyPatch) -> BreaksFor:
    """Makes a version fail for some listeners."""

    def plant(version: ModelVersion, fails: Callable[[int], bool]) -> None:
        def fail_for_some(profiles: Any, model: Any, now: Any) -> Any:
            is_version = model is not None and model.version == version
            if is_version and any(fails(profile.listener_id) for profile in profiles):
                raise ValueError("It fails for this listener.")
            return generate_block(profiles, model, now)

        monkeypatch.setattr(candidate_cache, "generate_block", fail_for_some)

    return plant


def one_in_ten(listener: int) -> bool:
    return listener % 10 == 0


def test_a_challenger_that_breaks_for_one_listener_in_ten_is_withdrawn_by_its_first_trial(
    versions: Versions, storage: Path, breaks_for: BreaksFor
) -> None:
    test = begin(versions[NEW])
    breaks_for(versions[NEW], one_in_ten)

    first = health_checks.try_challengers(RECOMMENDED_AT)
    again = health_checks.try_challengers(RECOMMENDED_AT)

    test.refresh_from_db()
    assert (first, again) == (1, 0)
    assert (test.outcome, roles()[NEW], ServedList.objects.count()) == ("rollback", "withdrawn", 0)
    assert test.reason.startswith(f"{versions[NEW]} made no list for {test.failed_listeners} of ")
    assert Incident.objects.get(resolved_at=None).kind == "challenger_failed"


def test_a_challenger_that_breaks_for_new_listeners_alone_is_withdrawn_by_its_first_trial(
    versions: Versions, storage: Path, breaks_for: BreaksFor
) -> None:
    known = list(Listener.objects.values_list("pk", flat=True))
    Listener.objects.bulk_create(
        Listener(id=max(known) + number, created_at=RECOMMENDED_AT, updated_at=RECOMMENDED_AT)
        for number in range(1, round(0.12 * len(known)) + 1)
    )
    test = begin(versions[NEW])
    breaks_for(versions[NEW], lambda listener: listener not in known)

    health_checks.try_challengers(RECOMMENDED_AT)

    test.refresh_from_db()
    assert (test.outcome, roles()[NEW]) == ("rollback", "withdrawn")


def test_a_trial_counts_no_failure_that_the_champion_shares_and_is_due_every_hour(
    versions: Versions, storage: Path, breaks_for: BreaksFor
) -> None:
    test = begin(versions[NEW])
    breaks_for(versions[SERVING], one_in_ten)

    tried = [
        health_checks.try_challengers(RECOMMENDED_AT + timedelta(minutes=minute)) for minute in (0, 45, 60)
    ]

    test.refresh_from_db()
    assert tried == [1, 0, 1]
    assert (test.status, test.failed_listeners) == ("running", 0)
    assert test.tried_listeners > 20


def test_a_trial_makes_lists_in_blocks_and_in_a_failing_block_one_by_one(
    versions: Versions, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = begin(versions[NEW])
    blocks: list[list[int]] = []
    failing = list(Listener.objects.order_by("pk").values_list("pk", flat=True))[:2]
    by_chance, always = failing

    def fail_for_two(profiles: Any, model: Any, now: Any) -> Any:
        listeners = [profile.listener_id for profile in profiles]
        if model.version == versions[NEW]:
            blocks.append(listeners)
            attempts = sum(by_chance in block for block in blocks)
            # In its block and in the first attempt alone.
            if always in listeners or (by_chance in listeners and attempts <= 2):
                raise ValueError("It fails for this listener.")
        return generate_block(profiles, model, now)

    monkeypatch.setattr(candidate_cache, "generate_block", fail_for_two)

    health_checks.try_challengers(RECOMMENDED_AT)

    test.refresh_from_db()
    first, *others = blocks
    alone = [[listener] for listener in first]
    assert len(first) > 20
    assert others[: len(first)] == alone
    assert others[-2:] == [[by_chance], [always]]
    assert test.failed_listeners == 1
    stored = CandidateList.objects.filter(version=versions[NEW]).values_list("listener_id", flat=True)
    assert by_chance in stored
    assert always not in stored


def test_a_request_draws_from_the_challengers_list_of_the_trial(versions: Versions, storage: Path) -> None:
    begin(versions[NEW])
    health_checks.try_challengers(RECOMMENDED_AT)
    by_trial = CandidateList.objects.get(version=versions[NEW], listener_id=LISTENER)

    served = serve(storage)

    drawn_from = served.challenger_candidate_list or served.candidate_list
    assert drawn_from == by_trial
    assert CandidateList.objects.filter(version=versions[NEW], listener_id=LISTENER).count() == 1


def test_the_newest_listeners_get_no_second_list_in_a_trial_either(
    versions: Versions, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(versions[NEW])
    made: list[int] = []

    def make_and_record(profiles: Any, model: Any, now: Any) -> Any:
        made.extend(profile.listener_id for profile in profiles)
        return generate_block(profiles, model, now)

    health_checks.try_challengers(RECOMMENDED_AT)
    with_list = CandidateList.objects.filter(version=versions[NEW])
    known = set(with_list.values_list("listener_id", flat=True))
    assert known.intersection(candidate_cache.newest_listeners(challenger_trial.TRIAL_NEWCOMERS))
    monkeypatch.setattr(candidate_cache, "generate_block", make_and_record)

    health_checks.try_challengers(RECOMMENDED_AT + timedelta(hours=1))

    assert not known.intersection(made)


def test_a_trial_makes_no_second_list_for_listeners_without_new_events(
    versions: Versions, storage: Path
) -> None:
    test = begin(versions[NEW])
    lists, tried = [], []
    for hour in range(2):
        health_checks.try_challengers(RECOMMENDED_AT + timedelta(hours=hour))
        lists.append(set(CandidateList.objects.filter(version=versions[NEW]).values_list("pk", flat=True)))
        test.refresh_from_db()
        tried.append(test.tried_listeners)

    assert len(lists[0]) > 20
    assert lists[0] == lists[1]
    assert tried[0] == tried[1] >= len(lists[0])


def test_the_incident_of_a_failed_challenger_lasts_until_the_next_daily_review(
    versions: Versions, storage: Path
) -> None:
    begin(versions[NEW])
    cut_short(storage / versions[NEW].label)

    retraining.run_daily_review(RECOMMENDED_AT, services.verify_artifact)
    retraining.run_daily_review(RECOMMENDED_AT + timedelta(minutes=1), services.verify_artifact)
    delivered_twice = Incident.objects.get(resolved_at=None).kind
    retraining.run_daily_review(RECOMMENDED_AT + DAY, services.verify_artifact)

    assert delivered_twice == "challenger_failed"
    assert not Incident.objects.filter(resolved_at=None).exists()


def test_damaged_files_are_read_again_only_after_they_have_changed(
    versions: Versions, storage: Path, caplog: pytest.LogCaptureFixture
) -> None:
    label = versions[NEW].label
    begin(versions[NEW])
    shutil.copytree(storage / label, storage.parent / label)
    lose_a_file(storage / label)
    refused = [serve(storage).arm for _ in range(2)]

    shutil.copytree(storage.parent / label, storage / label, dirs_exist_ok=True)

    assert refused == ["champion", "champion"]
    assert serve(storage).arm == "interleaved"


def test_a_damaged_holdback_ends_its_experiment_and_keeps_the_champion(
    versions: Versions, storage: Path
) -> None:
    Promotion.objects.filter(promoted=versions[OLDER]).update(at=RECOMMENDED_AT - 40 * DAY)
    Promotion.objects.filter(promoted=versions[OLDEST]).update(at=RECOMMENDED_AT - 60 * DAY)
    anchor = lifecycle.renew_holdback(RECOMMENDED_AT)
    assert anchor is not None
    Experiment.objects.filter(pk=anchor.pk).update(list_share=1.0)
    flip_a_bit(storage / versions[OLDER].label)

    served = serve(storage)
    retraining.run_daily_review(RECOMMENDED_AT + DAY, services.verify_artifact)

    assert served.version == versions[SERVING]
    assert roles() == ["retired", "retired", "champion", "candidate"]
    assert list(Experiment.objects.values_list("outcome", flat=True)) == ["void"]


def test_rolled_back_twice_each_answer_comes_from_further_back(versions: Versions, storage: Path) -> None:
    before = version_served(storage)
    roll_back()
    once = version_served(storage)
    roll_back()
    twice = version_served(storage)

    assert [before, once, twice] == [versions[place].label for place in (SERVING, OLDER, OLDEST)]
    assert roles() == ["champion", "withdrawn", "withdrawn", "candidate"]


def test_a_rollback_without_a_previous_version_says_so_and_changes_nothing(
    versions: Versions, storage: Path
) -> None:
    roll_back()
    roll_back()
    lines = Promotion.objects.count()

    with pytest.raises(NothingToRollBack, match=f"no good version before {versions[OLDEST].label}"):
        roll_back()

    assert version_served(storage) == versions[OLDEST].label
    assert roles() == ["champion", "withdrawn", "withdrawn", "candidate"]
    assert Promotion.objects.count() == lines


def test_a_version_brought_back_recommends_no_unavailable_song(versions: Versions, storage: Path) -> None:
    roll_back()
    offered = set(song_ids(serve(storage)))
    registry.promote(versions[NEW], reason="A try.", by="ada", verify=services.verify_artifact)
    gone = set(sorted(offered)[:10]) | set(Song.objects.values_list("pk", flat=True)[:50])
    Song.objects.filter(pk__in=gone).update(unavailable_at=RECOMMENDED_AT)

    roll_back()
    served = serve(storage)

    assert serialize_list(served)["model_version"] == versions[OLDER].label
    assert len(served.items) == 20
    assert not gone & set(song_ids(served))


@damages
def test_a_rollback_skips_a_damaged_version(versions: Versions, storage: Path, damage: Damage) -> None:
    damage(storage / versions[OLDER].label)

    promotion = roll_back()

    assert promotion.promoted == versions[OLDEST]
    assert version_served(storage) == versions[OLDEST].label
    assert roles() == ["champion", "retired", "withdrawn", "candidate"]


def test_a_rollback_ends_the_running_experiment_and_its_lists(versions: Versions, storage: Path) -> None:
    test = begin(versions[NEW])
    before = serve(storage)

    roll_back()
    after = serve(storage)

    test.refresh_from_db()
    assert serialize_list(before)["model_version"] == f"{versions[SERVING].label}+{versions[NEW].label}"
    assert (after.arm, serialize_list(after)["model_version"]) == (
        "champion",
        versions[OLDER].label,
    )
    assert (test.outcome, test.reason) == ("void", f"The champion is {versions[OLDER].label} by now.")
    assert roles() == ["retired", "champion", "withdrawn", "candidate"]


def test_a_withdrawn_holdback_is_no_longer_served(versions: Versions, storage: Path) -> None:
    Promotion.objects.filter(promoted=versions[OLDER]).update(at=RECOMMENDED_AT - 40 * DAY)
    anchor = lifecycle.renew_holdback(RECOMMENDED_AT)
    assert anchor is not None
    registry.promote(versions[NEW], reason="A try.", by="ada", verify=services.verify_artifact)
    for _ in range(3):
        roll_back()

    anchor.refresh_from_db()
    assert version_served(storage) == versions[OLDEST].label
    assert (anchor.status, anchor.outcome) == ("ended", "void")
    assert lifecycle.renew_holdback(RECOMMENDED_AT) is None
