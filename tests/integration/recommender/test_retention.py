"""Lists expire after `KEEP_LISTS_DAYS`; what decisions, training and unfinished experiments need stays."""

import json
from contextlib import nullcontext
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from ingestion.models import Listener
from recommender import retention
from recommender.dashboard import experiment_report
from recommender.experiments import decisions, eligibility, statistics
from recommender.experiments.interleaving_scores import hash_scores
from recommender.models import (
    AttributedListen,
    CandidateList,
    Decision,
    EngagedList,
    Experiment,
    ExperimentSeal,
    Exposure,
    Feedback,
    ModelVersion,
    Promotion,
    ScoredList,
    ServedList,
)
from recommender.registry import artifact_folders, registry
from recommender.registry.artifact_folders import FilesInUse
from recommender.training.dataset import read_training_data
from tests.support.builders.experiments import (
    DAY,
    START,
    make_experiment,
    make_interleaved_list,
    make_listeners_and_songs,
    make_version,
)

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

KEEP = 90 * DAY
LATER = START + 200 * DAY
TEAMS = [False, True]


@pytest.fixture
def champion() -> ModelVersion:
    make_listeners_and_songs(listeners=range(1, 13))
    return make_version("2026w44.1", "champion")


def serve(version: ModelVersion | None, at: datetime = START, listener: int = 1, **fields: Any) -> ServedList:
    candidates = CandidateList.objects.create(
        listener_id=listener, version=version, made_at=at, candidates=b""
    )
    served = ServedList.objects.create(
        listener_id=listener, candidate_list=candidates, version=version, generated_at=at, discovery=0.3,
        arm="champion" if version else "fallback", temperature=0.1, seed="s", pages=[],
        items=[{"song": 10}], **fields,
    )  # fmt: skip
    if version is not None:
        count(served)
    return served


def count(served: ServedList) -> None:
    assert served.version is not None
    EngagedList.objects.create(
        served_list=served, listener_id=served.listener_id, version=served.version, songs=1, final=True,
        at=served.generated_at,
    )  # fmt: skip


def react(kind: str, served: ServedList) -> Feedback:
    return Feedback.objects.create(
        event_id=uuid4().hex, listener_id=served.listener_id, song_id=10, kind=kind, served_list=served,
        at=served.generated_at, received_at=served.generated_at,
    )  # fmt: skip


@pytest.fixture
def ended(champion: ModelVersion) -> Experiment:
    """A change that 12 listeners tested for 20 days, with a decision of a person at its end."""
    experiment = make_experiment(
        status="ended",
        outcome="reject",
        ended_at=START + 21 * DAY,
        reason="Decided by ada: No.",
    )
    for day in range(20):
        for listener in range(1, 13):
            at = START + day * DAY
            served = make_interleaved_list(experiment, listener, at, [10, 11], TEAMS)
            count(served)
            ScoredList.objects.create(
                experiment=experiment, served_list=served, listener_id=listener, day=at.date(), rounds=1,
                closed_at=at + 2 * DAY, wins=int(listener % 3 == 0), losses=int(listener % 3 == 1),
            )  # fmt: skip
    Exposure.objects.create(experiment=experiment, listener_id=1, arm="champion", first_at=START)
    at = START + 21 * DAY
    evidence, scores = statistics.gather_evidence(experiment, at)
    decision, _ = decisions.store_decision(experiment, evidence, hash_scores(scores), at)
    decisions.mark_final(decision, decided_by="ada")
    return experiment


def test_old_lists_and_their_candidates_go_and_new_ones_stay(champion: ModelVersion) -> None:
    serve(champion), serve(None)
    serve(champion, LATER - KEEP - timedelta(seconds=1))
    new = serve(champion, LATER - KEEP + timedelta(seconds=1))

    deleted = retention.delete_expired_lists(LATER, KEEP)
    again = retention.delete_expired_lists(LATER, KEEP)

    assert (deleted["served_lists"], deleted["candidate_lists"]) == (3, 3)
    assert not any(again.values())
    assert ServedList.objects.get() == new
    assert CandidateList.objects.get() == new.candidate_list


def test_more_lists_than_one_batch_go(champion: ModelVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    kept = [serve(champion, START + hour * DAY / 24) for hour in range(9)][::2]
    for served in kept:
        react("wrong_style", served)

    deleted = retention.delete_expired_lists(LATER, KEEP)

    assert deleted["served_lists"] == 4
    assert set(ServedList.objects.all()) == set(kept)


def test_feedback_and_recommended_plays_outlive_their_list(champion: ModelVersion) -> None:
    served = serve(champion)
    react("like", served)
    AttributedListen.objects.create(served_list=served, song_id=10, at=START)
    make_session(1, [10, 11], START)

    retention.delete_expired_lists(LATER, KEEP)
    data = read_training_data()

    assert Feedback.objects.get().served_list is None
    assert AttributedListen.objects.get().listener_id == 1
    assert data.catalogue.ids[data.organic.songs].tolist() == [11]


def make_session(listener: int, items: list[int], at: datetime) -> None:
    Listener.objects.get(pk=listener).histories.create(items=items, created_at=at, updated_at=at)


def test_a_list_that_feedback_about_a_wrong_style_needs_stays(champion: ModelVersion) -> None:
    served = serve(champion)
    react("wrong_style", served)

    retention.delete_expired_lists(LATER, KEEP)

    assert ServedList.objects.get() == served


def test_an_unfinished_experiment_keeps_its_lists_and_those_of_weeks_before(
    champion: ModelVersion,
) -> None:
    make_experiment(started_at=START)
    serve(champion, START - 29 * DAY)
    needed = [serve(champion, START - 27 * DAY), serve(champion, START + DAY)]

    retention.delete_expired_lists(LATER, KEEP)

    assert set(ServedList.objects.all()) == set(needed)


def test_lists_whose_engagement_is_not_final_keep_their_whole_day(champion: ModelVersion) -> None:
    serve(champion, START - DAY)
    same_day = serve(champion, START - timedelta(hours=1))
    open_list = serve(champion, START)
    EngagedList.objects.filter(served_list=open_list).update(final=False)
    never_counted = serve(champion, START + DAY)
    EngagedList.objects.filter(served_list=never_counted).delete()

    retention.delete_expired_lists(LATER, KEEP)

    assert set(ServedList.objects.all()) == {same_day, open_list, never_counted}


def test_a_decision_is_recounted_from_sealed_sums_when_its_rows_are_gone(ended: Experiment) -> None:
    decision = Decision.objects.get()
    by_rows = decisions.replay_decision(decision)
    report = experiment_report.build_report(ended, LATER)

    deleted = retention.delete_expired_lists(LATER, KEEP)
    by_sums = decisions.replay_decision(decision)
    report_after = experiment_report.build_report(ended, LATER)

    # Each listener keeps the newest candidates.
    assert deleted == {
        "sealed_experiments": 1, "served_lists": 240, "candidate_lists": 228, "exposures": 1,
    }  # fmt: skip
    assert not ScoredList.objects.exists()
    assert (by_rows.counted_from, by_sums.counted_from) == ("rows", "sealed sums")
    assert by_rows.differences == by_sums.differences == []
    assert (report_after.days, report_after.arms) == (report.days, report.arms)
    assert len(report_after.days) == 20


def test_changed_evidence_is_found_after_the_rows_are_gone(ended: Experiment) -> None:
    retention.delete_expired_lists(LATER, KEEP)
    decision = Decision.objects.get()
    decision.evidence["wins"] = 900

    replayed = decisions.replay_decision(decision)

    assert "rows: wins is 80 by the sealed sums, but 900 in the evidence." in replayed.differences


def test_a_changed_seal_is_found(ended: Experiment) -> None:
    retention.delete_expired_lists(LATER, KEEP)
    seal = ExperimentSeal.objects.get()
    seal.sums = seal.sums.replace('"wins":80', '"wins":900')
    seal.save()

    replayed = decisions.replay_decision(Decision.objects.get())

    assert replayed.seal_changed
    assert replayed.differences[-1].startswith("seal: the sealed sums do not have the digest")


def test_an_explained_decision_says_what_it_was_counted_from(
    ended: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    retention.delete_expired_lists(LATER, KEEP)

    call_command("explaindecision")

    assert "Counted again, the sealed sums give this evidence" in capsys.readouterr().out


def test_the_command_says_what_it_deleted(champion: ModelVersion, capsys: pytest.CaptureFixture[str]) -> None:
    serve(champion, timezone.now() - 91 * DAY)
    serve(champion, timezone.now() - 89 * DAY)

    call_command("deletelists", "--days", "100", "--json")
    by_days = json.loads(capsys.readouterr().out)
    call_command("deletelists")

    assert by_days["served_lists"] == 0
    assert "Deleted 1 served lists, 1 candidate lists, 0 exposures and the files" in capsys.readouterr().out
    with pytest.raises(CommandError, match="Keep at least 70 days"):
        call_command("deletelists", "--days", "5")


def test_files_of_old_versions_go_unless_they_served_or_are_tested(tmp_path: Path) -> None:
    roles = {"2026w40.1": "retired", "2026w40.2": "withdrawn", "2026w41.1": "candidate",
             "2026w42.1": "retired",
             "2026w44.1": "champion", "2026w45.1": "challenger", "2026w46.1": "candidate"}  # fmt: skip
    versions = {label: make_version(label, role) for label, role in roles.items()}
    for version in versions.values():
        (tmp_path / version.label).mkdir()
    Promotion.objects.create(promoted=versions["2026w42.1"], at=START, by="test", reason="The first.")
    make_experiment(champion=versions["2026w44.1"], challenger=versions["2026w45.1"])

    deleted = artifact_folders.delete_old_artifacts(tmp_path, keep=1, now=LATER)
    again = artifact_folders.delete_old_artifacts(tmp_path, keep=1, now=LATER)

    assert (deleted, again) == (2, 0)
    assert sorted(roles.keys() - {folder.name for folder in tmp_path.iterdir()}) == ["2026w40.1", "2026w41.1"]
    gone = ModelVersion.objects.get(label="2026w41.1")
    assert gone.files_deleted_at == LATER
    assert "were deleted" in eligibility.why_not_testable(gone)


def test_files_of_a_version_that_serves_nobody_can_be_deleted(tmp_path: Path) -> None:
    roles = ("champion", "challenger", "candidate", "retired", "withdrawn")
    versions = {role: make_version(f"2026w4{number}.1", role) for number, role in enumerate(roles)}
    for version in versions.values():
        (tmp_path / version.label).mkdir()
    make_experiment(champion=versions["champion"], challenger=versions["candidate"])

    for role, version in versions.items():
        in_use = role in {"champion", "challenger", "candidate"}
        with pytest.raises(FilesInUse) if in_use else nullcontext():
            artifact_folders.delete_files(version.label, tmp_path, LATER)

    left = {role for role, version in versions.items() if (tmp_path / version.label).exists()}
    marked = ModelVersion.objects.filter(files_deleted_at=LATER)
    assert left == {"champion", "challenger", "candidate"}
    assert set(marked.values_list("role", flat=True)) == {"retired", "withdrawn"}


def test_a_version_without_files_is_not_promoted_and_no_rollback_restores_it(tmp_path: Path) -> None:
    first, second = make_version("2026w40.1", "champion"), make_version("2026w41.1")
    Promotion.objects.create(promoted=first, at=START, by="test", reason="The first.")
    registry.promote(second, reason="Better.", by="test", verify=lambda version: None)

    artifact_folders.delete_files(first.label, tmp_path, LATER)

    assert registry.former_champions() == []
    with pytest.raises(registry.NotPromotable, match=r"files of 2026w40\.1 were deleted"):
        registry.promote(first, reason="Back.", by="test", verify=lambda version: None)
