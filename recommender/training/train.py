"""Trains one version: reads, fits, evaluates on the latest week, describes the clusters, stores.

Only the last step, which writes files and then all rows in one transaction, changes what is served.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from numpy.typing import NDArray

from ingestion.jobs.database_patience import with_patience
from ingestion.jobs.lock import (
    RUNNING,
    JobHeartbeat,
    LockLost,
    abandon_dead_job,
    add_log_context,
    describe_error,
    find_running,
    finish_job,
    lock_owner,
)
from ingestion.jobs.resource_usage import ResourceMonitor, return_freed_memory
from recommender import catalogue_generation
from recommender.engine import artifact
from recommender.engine.algorithms.classic import ClassicModel
from recommender.engine.algorithms.engines import Engine
from recommender.engine.algorithms.neighbour_processes import running_children
from recommender.engine.clustering.n_clusters import n_clusters_bounds
from recommender.engine.data import EngineError, InvalidNumberOfClusters, TooFewPlays, TooFewSongs
from recommender.engine.mix.model import MixModel
from recommender.engine.song_identity import identify_songs
from recommender.models import Cluster, ModelVersion, SongEvidence, TrainingRun
from recommender.registry import artifact_folders, artifact_storage, registry
from recommender.registry.cluster_name_rules import apply_name_rules
from recommender.training.cluster_feedback import AppliedVotes, apply_votes
from recommender.training.clusters import (
    ClusterSummary,
    cohesion_metrics,
    manifest_entries,
    summarize_clusters,
)
from recommender.training.data_fingerprint import FINGERPRINT_KEY, compute_fingerprint, require_new_data
from recommender.training.dataset import TrainingData, read_training_data
from recommender.training.evaluation import TrainingEvaluation, evaluate_on_latest_week, fit_final_model
from recommender.training.stored_version import read_champion
from recommender.training.warm_start import (
    LABELS_WITHOUT_FEEDBACK,
    WarmStart,
    build_warm_start,
    describe_n_clusters,
    lineage_fields,
)

logger = logging.getLogger(__name__)

FAILED_EXIT_CODE: Final = 1
EXIT_CODES: Final = {
    TrainingRun.Status.SUCCEEDED: 0,
    TrainingRun.Status.FAILED: FAILED_EXIT_CODE,
    TrainingRun.Status.REFUSED: 4,
}
LOCKED_EXIT_CODE: Final = 3
# Stored in `TrainingRun.stage`.
STAGES: Final = ("reading songs", "reading listeners", "reading sessions and feedback",
                 "learning from the past", "measuring on the latest week", "learning from everything",
                 "grouping and naming", "writing the artifact")  # fmt: skip


class AlreadyTraining(Exception):
    def __init__(self, run: TrainingRun) -> None:
        super().__init__(
            f"Training {run.pk} has held the lock since {run.started_at:%Y-%m-%d %H:%M:%S} UTC "
            f"(process {run.pid} on {run.host}, stage: {run.stage or 'starting'})."
        )
        self.run = run


@dataclass(frozen=True)
class TrainingOptions:
    storage: Path  # the folder that holds one folder per version
    trigger: str = TrainingRun.Trigger.COMMAND
    method: str = ModelVersion.Method.MIX  # "mix" or "classic"
    n_clusters: int | None = None  # None: continue the champion's clusters or choose the number
    cut_off: datetime | None = None  # train on events up to this time; None: on all events
    seed: int = 7
    full: bool = False  # start from scratch instead of continuing the champion's feature space and clusters
    promote: bool = False  # make the version champion even if there is one
    only_if_new: bool = False  # refuse if the newest version was trained on the same data in the same way
    by: str = "training"  # the actor that a promotion is recorded for
    processes: int = 1  # how many compute the songs' neighbours; changes no result
    # Opens what reads the plays and computes the stored model's neighbours; None: this process does, with
    # `processes`. Changes no result.
    open_engine: Callable[[], AbstractContextManager[Engine | None]] = nullcontext

    @property
    def requested_configuration(self) -> dict[str, Any]:
        chosen = {"n_clusters": self.n_clusters} if self.n_clusters else {}
        return {"method": str(self.method), **chosen}

    @property
    def is_warm_start(self) -> bool:
        return not (self.full or self.n_clusters)

    @property
    def selects_n_clusters(self) -> bool:
        """Whether plays of the latest week choose the number of clusters; a person's choice has priority."""
        return self.full and not self.n_clusters and self.method == ModelVersion.Method.MIX


class TrainingProgress:
    """Callback for the stages of a training; this class ignores them."""

    def on_stage(self, run: TrainingRun, name: str, step: int, steps: int) -> None:
        """Called when stage `name` begins; it is number `step` of `steps`, from 1."""


def retrain(options: TrainingOptions, progress: TrainingProgress | None = None) -> TrainingRun:
    """Train, evaluate and store a version.

    Returns:
        The finished run: succeeded with a version, or refused with the reason.

    Raises:
        AlreadyTraining: another training holds the job lock.
        LockLost: another process marked this training as dead.
        Exception: any other failure, after the run's row was marked as failed.
    """
    run = _create_run(options)
    with add_log_context(training=run.pk):
        logger.info("training_started training=%s trigger=%s method=%s", run.pk, run.trigger, options.method)
        job = _TrainingJob(run, options, progress or TrainingProgress())
        with job.recording_outcome(), job.monitor.sample_in_background(job.heartbeat):
            job.execute()
        run.refresh_from_db()
        version = run.version or "-"
        logger.info("training_finished training=%s status=%s version=%s", run.pk, run.status, version)
    return run


def _create_run(options: TrainingOptions) -> TrainingRun:
    now = timezone.now()
    try:
        with transaction.atomic():
            abandon_dead_job(TrainingRun, now)
            return TrainingRun.objects.create(
                trigger=options.trigger, full=options.full, started_at=now, heartbeat_at=now, **lock_owner()
            )
    except IntegrityError:
        running = find_running(TrainingRun)
        if running is None:
            raise
        raise AlreadyTraining(running) from None


def _require_valid_n_clusters(n_clusters: int, n_songs: int) -> None:
    """Check a person's number, which may be below `n_clusters_bounds`, but not 1."""
    most = n_clusters_bounds(n_songs)[1]
    if not min(2, most) <= n_clusters <= most:
        raise InvalidNumberOfClusters(
            f"{n_clusters} clusters of {n_songs} songs make no sense: choose a number from 2 to {most}, or "
            "leave --clusters out."
        )


@dataclass(frozen=True)
class _TrainedModel:
    data: TrainingData
    model: MixModel | ClassicModel
    clusters: list[ClusterSummary]
    votes: AppliedVotes | None  # None for a classic model, which feedback does not change
    warm_start: WarmStart
    evaluation: TrainingEvaluation
    # Fields of the version's row: metrics, cohesion, lineage, parent and configuration.
    row_fields: dict[str, Any]

    def arrays(self) -> dict[str, NDArray[Any]]:
        numbers = np.array([cluster.number for cluster in self.clusters], dtype=np.int32)
        arrays = {**self.model.arrays(), **self.warm_start.artifact_arrays(),
                  **identify_songs(self.data.catalogue).to_arrays(),
                  "song_ids": self.data.catalogue.ids, "cluster_ids": numbers}  # fmt: skip
        if self.votes is not None:
            arrays[LABELS_WITHOUT_FEEDBACK] = self.votes.labels_without_feedback
        return arrays


@dataclass
class _TrainingJob:
    run: TrainingRun
    options: TrainingOptions
    progress: TrainingProgress
    monitor: ResourceMonitor = field(default_factory=lambda: ResourceMonitor(running_children))

    def __post_init__(self) -> None:
        self.heartbeat = JobHeartbeat(self.run)

    @contextmanager
    def recording_outcome(self) -> Iterator[None]:
        try:
            yield
        except LockLost:
            raise
        except EngineError as error:
            kind, text = type(error).__name__, str(error)
            with_patience(lambda: self._finish(TrainingRun.Status.REFUSED, error_kind=kind, error=text))
        except BaseException as error:
            if not connection.in_atomic_block:
                connection.close_if_unusable_or_obsolete()
            kind, text = type(error).__name__[:40], describe_error(error)
            with_patience(lambda: self._finish(TrainingRun.Status.FAILED, error_kind=kind, error=text))
            raise

    def execute(self) -> None:
        artifact_folders.prepare_storage(self.options.storage)
        with self.options.open_engine() as engine:
            trained = self._train(engine)
        self._begin_stage("writing the artifact")
        self._store(trained)

    def _train(self, engine: Engine | None) -> _TrainedModel:
        options = self.options
        data = self._read_data(engine)
        self._begin_stage("learning from the past")
        warm_start = with_patience(lambda: build_warm_start(
            data.catalogue, read_champion(options.storage), method=options.method, seed=options.seed,
            carries_clusters=options.is_warm_start, selects_n_clusters=options.selects_n_clusters,
        ))  # fmt: skip
        evaluation = evaluate_on_latest_week(
            data, options.requested_configuration, options.seed, self._begin_stage, warm_start,
            processes=options.processes,
        )  # fmt: skip
        self._begin_stage("learning from everything")
        model = self._fit_model(data, warm_start, evaluation, engine)
        self._begin_stage("grouping and naming")
        return self._describe_model(data, model, warm_start, evaluation)

    def _read_data(self, engine: Engine | None) -> TrainingData:
        options = self.options
        data = with_patience(lambda: read_training_data(options.cut_off, self._begin_stage, engine))
        if not data.catalogue.n_songs:
            raise TooFewSongs("There are no songs to train on. Import them first: python manage.py runingest")
        if not data.catalogue.available.any():
            raise TooFewSongs(
                "No song is available any more: the source sent none of them in the last import."
            )
        if not data.n_plays:
            raise TooFewPlays(
                "Nobody has played a song yet. Import sessions first: python manage.py runingest"
            )
        if options.n_clusters is not None:
            _require_valid_n_clusters(options.n_clusters, data.catalogue.n_songs)
        if options.only_if_new:
            with_patience(lambda: require_new_data(
                data, method=options.method, seed=options.seed, n_clusters=options.n_clusters,
                full=options.full,
            ))  # fmt: skip
        return data

    def _fit_model(
        self,
        data: TrainingData,
        warm_start: WarmStart,
        evaluation: TrainingEvaluation,
        engine: Engine | None,
    ) -> MixModel | ClassicModel:
        training = data.to_training(
            seed=self.options.seed,
            configuration=self.options.requested_configuration | evaluation.chosen_configuration,
        )
        training = replace(training, warm_start=warm_start.carried_clusters, processes=self.options.processes)
        return fit_final_model(training, evaluation, engine)

    def _describe_model(
        self,
        data: TrainingData,
        fitted: MixModel | ClassicModel,
        warm_start: WarmStart,
        evaluation: TrainingEvaluation,
    ) -> _TrainedModel:
        options = self.options
        votes = None
        if isinstance(fitted, MixModel):
            votes = with_patience(lambda: apply_votes(fitted, data, options.seed))
        model = votes.model if votes else fitted
        clusters = with_patience(
            lambda: summarize_clusters(model, data, warm_start.champion, warm_start.cluster_names)
        )
        configuration = options.requested_configuration | {
            "weights": model.facts().get("weights", {}),
            FINGERPRINT_KEY: compute_fingerprint(data),
            "clusters": describe_n_clusters(
                len(clusters), evaluation.n_clusters_choice, warm_start,
                requested=options.n_clusters, full=options.full,
            ),
        }  # fmt: skip
        row_fields = {
            "metrics": evaluation.metrics, "cohesion": cohesion_metrics(model),
            "configuration": configuration, **lineage_fields(warm_start, model.labels, clusters, data),
        }  # fmt: skip
        return _TrainedModel(data, model, clusters, votes, warm_start, evaluation, row_fields)

    def _store(self, trained: _TrainedModel) -> None:
        # The files come first, so that no row names missing files.
        label = artifact_folders.next_free_label(self.options.storage, timezone.now())
        facts = {**trained.model.facts(), "label": label, "seed": self.options.seed,
                 "clusters": manifest_entries(trained.clusters),
                 "training": artifact_folders.training_signature(self.run)}  # fmt: skip
        sha256 = artifact_storage.write(self.options.storage / label, trained.arrays(), facts)
        self.monitor.sample()
        with_patience(lambda: self._store_rows(trained, label, sha256))

    def _store_rows(self, trained: _TrainedModel, label: str, sha256: str) -> None:
        if self.run.status != RUNNING:
            # The database was lost during an attempt; nobody knows whether it was committed.
            self.run.refresh_from_db()
            if self.run.status == TrainingRun.Status.SUCCEEDED:
                return
        # The transaction matters because a version without a finished run would belong to no training, and
        # `only_if_new` would refuse to train on its data again.
        with transaction.atomic():
            self.heartbeat.send()
            catalogue_generation.require_no_reset(self.run.started_at)
            version = self._create_version(trained, label, sha256)
            Cluster.objects.bulk_create(cluster.to_row(version) for cluster in trained.clusters)
            if trained.votes is not None:
                SongEvidence.objects.bulk_create(
                    trained.votes.evidence_rows(version, trained.data.catalogue.ids, trained.clusters)
                )
            summary = self._promote_if_wanted(version, trained.evaluation)
            # Staff may have blocked a word or chosen a name since the training read the rules. Late, because
            # until the end of the transaction staff who save a name wait, ten seconds at most.
            apply_name_rules(version=version)
            self._finish(TrainingRun.Status.SUCCEEDED, version=version, summary=summary)

    def _create_version(self, trained: _TrainedModel, label: str, sha256: str) -> ModelVersion:
        now, data = timezone.now(), trained.data
        return ModelVersion.objects.create(
            label=label, method=self.options.method, created_at=now, cut_off=data.cut_off or now,
            n_songs=data.catalogue.n_songs, n_listeners=data.n_active_listeners, n_plays=data.n_plays,
            n_clusters=len(trained.clusters), seed=self.options.seed,
            artifact_sha256=sha256, artifact_bytes=artifact.size_in_bytes(self.options.storage / label),
            seconds=self.monitor.seconds, cpu_seconds=self.monitor.cpu_seconds,
            peak_memory=self.monitor.peak_memory, **trained.row_fields,
        )  # fmt: skip

    def _promote_if_wanted(self, version: ModelVersion, evaluation: TrainingEvaluation) -> str:
        """Promote the first good version, or any on request; return the run's summary.

        A version that can't be promoted stays a candidate, and the summary says why.
        """
        is_first, label = registry.current_champion() is None, version.label
        is_worse = is_first and evaluation.is_worse_than_popularity
        if not self.options.promote and (is_worse or not is_first):
            state = "is worse than popularity and stays a candidate" if is_worse else "is a candidate"
            return (
                f"Version {label} {state}. {evaluation.sentence} To make it champion: "
                f"python manage.py promote {label} --reason '...'"
            )
        reason = f"{'The first model' if is_first else 'Requested'}. {evaluation.sentence}"
        folder = self.options.storage / label
        try:
            registry.promote(
                version,
                reason=reason,
                by=self.options.by,
                only_if_no_champion=is_first and not self.options.promote,
                verify=lambda one: artifact.verify_files(folder, one.artifact_sha256),
            )
        except (registry.RegistryError, artifact.ArtifactError) as error:
            return f"Version {label} stays a candidate: {error} {evaluation.sentence}"
        return f"Version {label} is champion. {evaluation.sentence}"

    def _begin_stage(self, name: str) -> None:
        self.monitor.sample()
        # Before the next stage needs as much again.
        return_freed_memory()
        self.run.stage = name
        self.heartbeat.try_send()
        self.progress.on_stage(self.run, name, STAGES.index(name) + 1, len(STAGES))

    def _finish(self, status: str, **fields: Any) -> None:
        self.monitor.sample()
        finish_job(
            self.run,
            status,
            cpu_seconds=self.monitor.cpu_seconds,
            peak_memory=self.monitor.peak_memory,
            **fields,
        )
