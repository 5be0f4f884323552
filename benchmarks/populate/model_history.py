"""Fill the tables of models: weekly versions, experiments, and two months of lists with feedback."""

import uuid
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Final

from django.utils import timezone

from benchmarks.populate.run_history import BLOCK, DAY, _insert_rows
from recommender.engine.experiments.decision_thresholds import DEFAULT_RULES
from recommender.engine.experiments.evidence import AllocationCheck, ExperimentEvidence
from recommender.models import (
    AttributedListen,
    CandidateList,
    Cluster,
    Decision,
    DriftReport,
    EngagedList,
    EngagementDay,
    Experiment,
    Exposure,
    Feedback,
    ModelVersion,
    Promotion,
    ScoredList,
    ServedList,
    SongEvidence,
    TrainingRun,
)

CLUSTERS: Final = 64
LIST_LENGTH: Final = 20
LIST_DAYS: Final = 60
EXPERIMENT_DAYS: Final = 20  # since the running experiment started
CANDIDATES: Final = 500  # bytes of a candidate list; more would only make the database larger
EVIDENCE: Final = 20_000
ALLOCATION_CHECKS: Final = (AllocationCheck("First picks by the challenger", 200, 190, 0.5),)
METRICS: Final = {
    name: {"ndcg": ndcg, "recall": 0.2, "coverage": 0.5, "diversity": 0.6, "listeners": 1200}
    for name, ndcg in (("mix", 0.18), ("popularity", 0.06), ("chance", 0.002))
}


def fill_model_history(songs: int, listeners: int, weeks: int) -> None:
    """Add a version, a training and an experiment with daily decisions per week, and a list per listener."""
    now = timezone.now()
    made = _versions(songs, listeners, weeks, now)
    _experiments(made, now)
    _engagement_days(made)
    _lists(songs, listeners, made, now)
    _insert_rows(
        SongEvidence,
        (
            SongEvidence(
                version=made[-2],
                song_id=1 + n,
                before=n % 7,
                after=n % 5,
                listeners=9,
                log_odds=1.5,
                margin=n / songs,
            )
            for n in range(min(EVIDENCE, songs))
        ),
    )


def _versions(songs: int, listeners: int, weeks: int, now: datetime) -> list[ModelVersion]:
    """Add a version per week: the last one is the challenger, the one before it the champion."""
    roles = {weeks - 1: "challenger", weeks - 2: "champion"}
    made = ModelVersion.objects.bulk_create(
        ModelVersion(
            label=f"{2000 + week // 50}w{1 + week % 50}.1", role=roles.get(week, "retired"), method="mix",
            created_at=now - (weeks - week) * 7 * DAY, cut_off=now - (weeks - week) * 7 * DAY, n_songs=songs,
            n_listeners=listeners, n_plays=10 * songs, n_clusters=CLUSTERS, seed=7, metrics=METRICS,
            cohesion={"silhouette_macro": 0.31, "r2": 0.55}, artifact_sha256="0" * 64, seconds=300.0,
            artifact_bytes=90_000_000, cpu_seconds=500.0, peak_memory=2_000_000_000,
        )
        for week in range(weeks)
    )  # fmt: skip
    _insert_rows(Cluster, (_cluster(version, n, songs) for version in made for n in range(CLUSTERS)))
    _insert_rows(TrainingRun, (_training(version) for version in made))
    _insert_rows(
        Promotion,
        (
            Promotion(promoted=new, replaced=old, reason="It was not worse", by="the loop", at=new.created_at)
            for old, new in pairwise(made[:-1])
        ),
    )
    return made


def _cluster(version: ModelVersion, n: int, songs: int) -> Cluster:
    facts = {"map": [0.1 * n, -0.2 * n], "examples": [1 + n, 2 + n, 3 + n], "features": {"energy": 0.8}}
    return Cluster(
        version=version, number=n, position=n, name=f"Rock, energetic {n}", size=songs // CLUSTERS,
        plays=songs, facts=facts,
    )  # fmt: skip


def _training(version: ModelVersion) -> TrainingRun:
    return TrainingRun(
        trigger="schedule", status="succeeded", started_at=version.created_at,
        heartbeat_at=version.created_at, finished_at=version.created_at + timedelta(minutes=5),
        host="worker-1", pid=41, process_started=0.0, version=version, cpu_seconds=500.0,
        peak_memory=2_000_000_000, summary="Version made",
    )  # fmt: skip


def _experiments(versions: list[ModelVersion], now: datetime) -> None:
    """Add a refresh per week, a running change, and the running holdback."""
    experiments = [
        Experiment(
            kind="refresh", status="ended", champion=old, challenger=new, list_share=0.7, by="the loop",
            created_at=new.created_at, started_at=new.created_at, ended_at=new.created_at + 6 * DAY,
            outcome="promote", reason="It is not worse: 471 to 226 rounds",
        )
        for old, new in pairwise(versions[:-1])
    ]  # fmt: skip
    for kind, other in (("change", versions[-1]), ("anchor", versions[-5])):
        experiments.append(
            Experiment(
                kind=kind, status="running", champion=versions[-2], challenger=other, list_share=0.7,
                split_share=0.3 if kind == "anchor" else 0.0, by="the loop", planned_listeners=20_000,
                created_at=now - EXPERIMENT_DAYS * DAY, started_at=now - EXPERIMENT_DAYS * DAY,
            )
        )  # fmt: skip
    made = Experiment.objects.bulk_create(experiments)
    _insert_rows(Decision, (decision for experiment in made for decision in _decisions(experiment)))


def _decisions(experiment: Experiment) -> Iterator[Decision]:
    for day in range(7):
        verdict = {"outcome": "waiting", "reason": f"Day {day}: not sure yet", "numbers": {"ln_e": 0.2 * day}}
        yield Decision(
            experiment=experiment,
            at=experiment.created_at + day * DAY,
            rules=asdict(DEFAULT_RULES),
            verdict=verdict,
            evidence=ExperimentEvidence(experiment.kind, day, 9, 8, coins=ALLOCATION_CHECKS).as_json(),
            outcome="waiting",
            code="0" * 64,
            data_sha256="0" * 64,
            final=day == 6,
        )


def _engagement_days(versions: list[ModelVersion]) -> None:
    rows, reports = [], []
    for version in versions:
        first = version.created_at.date()
        rows += [
            EngagementDay(version=version, day=first + timedelta(days=day), lists=3000, listeners=2500,
                          engaged=2.1, likes=900, final=True)
            for day in range(7)
        ]  # fmt: skip
        causes = [{"name": "Rock", "change": 0.2, "clusters": [{"name": "Rock, energetic"}]}]
        reports += [
            DriftReport(version=version, kind=kind, week=first, at=version.created_at, n=4000, listeners=900,
                        p=0.4, effect=0.03, limit=0.1, causes=causes)
            for kind in DriftReport.Kind.values
        ]  # fmt: skip
    _insert_rows(EngagementDay, rows)
    _insert_rows(DriftReport, reports)


def _lists(songs: int, listeners: int, versions: list[ModelVersion], now: datetime) -> None:
    """Add a list per listener, spread over two months; the last third belongs to the running experiment."""
    champion = versions[-2]
    change, holdback = Experiment.objects.filter(status="running").order_by("id")
    candidate_lists = CandidateList.objects.bulk_create(
        (CandidateList(listener_id=pk, version=champion, made_at=now, candidates=bytes(CANDIDATES))
         for pk in range(1, listeners + 1)),
        BLOCK,
    )  # fmt: skip
    made = [
        _list(n, candidate_list, songs, now - (listeners - n) * LIST_DAYS * DAY / listeners, change)
        for n, candidate_list in enumerate(candidate_lists)
    ]
    _insert_rows(ServedList, made)
    _insert_rows(EngagedList, (_engaged_list(one) for one in made))
    _insert_rows(ScoredList, (_scored_list(one, change, now) for one in made if one.experiment_id))
    _insert_rows(Exposure, (_exposure(one, holdback) for one in made[-listeners // 10 :]))
    _insert_rows(AttributedListen, (_attributed_listen(one) for one in made[::4]))
    _insert_rows(Feedback, (_feedback(one, n) for one in made for n in range(1 + one.listener_id % 2)))


def _list(
    n: int, candidate_list: CandidateList, songs: int, at: datetime, experiment: Experiment
) -> ServedList:
    in_experiment = experiment.started_at is not None and at > experiment.started_at and n % 10 < 7
    items = [
        {"song": 1 + (31 * n + 7 * rank) % songs, "cluster": rank, "cluster_name": "Rock, energetic",
         "affinity": 0.34, "propensity": 0.021, "familiar": False, "by_challenger": rank % 2 == 0,
         "reason": "From Rock, energetic: 34 % of what you play"}
        for rank in range(min(LIST_LENGTH, songs))
    ]  # fmt: skip
    return ServedList(
        id=uuid.UUID(int=n + 1), listener_id=candidate_list.listener_id, candidate_list=candidate_list,
        version=candidate_list.version,
        arm="interleaved" if in_experiment else "champion", generated_at=at, discovery=0.3, temperature=0.1,
        seed="s", experiment=experiment if in_experiment else None, milliseconds=2.0 if n % 50 == 0 else None,
        pages=[{"n": LIST_LENGTH, "exclude": []}], items=items,
    )  # fmt: skip


def _engaged_list(one: ServedList) -> EngagedList:
    return EngagedList(
        served_list=one, listener_id=one.listener_id, version=one.version, at=one.generated_at,
        songs=LIST_LENGTH, engaged=2, likes=1, listens=1,
    )  # fmt: skip


def _exposure(one: ServedList, holdback: Experiment) -> Exposure:
    return Exposure(
        experiment=holdback, listener_id=one.listener_id, arm="champion", first_at=one.generated_at
    )


def _attributed_listen(one: ServedList) -> AttributedListen:
    return AttributedListen(served_list=one, song_id=one.items[0]["song"], at=one.generated_at)


def _scored_list(one: ServedList, experiment: Experiment, now: datetime) -> ScoredList:
    return ScoredList(
        experiment=experiment,
        served_list=one,
        listener_id=one.listener_id,
        day=one.generated_at.date(),
        rounds=10,
        first_picks=5,
        wins=1,
        losses=one.listener_id % 2,
        closed_at=one.generated_at + 3 * DAY if one.generated_at < now - 3 * DAY else None,
    )


def _feedback(one: ServedList, n: int) -> Feedback:
    item: dict[str, Any] = one.items[n]
    return Feedback(
        event_id=f"{one.listener_id}-{n}", listener_id=one.listener_id, song_id=item["song"],
        kind="like" if n else "skip", served_list=one, at=one.generated_at, received_at=one.generated_at,
    )  # fmt: skip
