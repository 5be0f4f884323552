"""retrain(): tables -> arrays -> a model, measured -> files -> rows. Until the end all stays as it was."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from numpy.typing import NDArray

from ingestion.jobs.lock import (
    JobHeartbeat,
    LockLost,
    abandon_dead_job,
    add_log_context,
    find_running,
    finish_job,
    lock_owner,
)
from ingestion.jobs.resource_usage import ResourceMeter, run_heartbeat_thread
from recommender import catalogue_generation
from recommender.engine import artifact
from recommender.engine.algorithms.classic import ClassicModel
from recommender.engine.data import EngineError, TooFewSongs
from recommender.engine.mix.model import MixModel
from recommender.models import Cluster, ModelVersion, SongEvidence, TrainingRun
from recommender.registry import artifact_folders, registry
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
from recommender.training.warm_start import (
    LABELS_WITHOUT_FEEDBACK,
    build_warm_start,
    describe_n_clusters,
    lineage_fields,
    read_champion_clusters,
)

logger = logging.getLogger(__name__)

FAILED_EXIT_CODE: Final = 1
EXIT_CODES: Final = {
    TrainingRun.Status.SUCCEEDED: 0,
    TrainingRun.Status.FAILED: FAILED_EXIT_CODE,
    TrainingRun.Status.REFUSED: 4,
}
LOCKED_EXIT_CODE: Final = 3


class AlreadyTraining(Exception):
    """Another training holds the lock."""

    def __init__(self, run: TrainingRun) -> None:
        super().__init__(
            f"Training {run.pk} holds the lock since {run.started_at:%Y-%m-%d %H:%M:%S} UTC "
            f"(process {run.pid} on {run.host}, now {run.stage or 'starting'})."
        )
        self.run = run


@dataclass(frozen=True)
class TrainingOptions:
    """What kind of training is wanted.

    Attributes:
        storage: the folder under which versions are kept.
        method: "mix" or "classic".
        n_clusters: None: as many as the catalogue asks for.
        cut_off: learn from listening up to here; None: from all.
        promote: make it champion also where there is one.
        only_if_new: refuse where the newest version has learnt from the same, and the same way.
    """

    storage: Path
    trigger: str = TrainingRun.Trigger.COMMAND
    method: str = ModelVersion.Method.MIX
    n_clusters: int | None = None
    cut_off: datetime | None = None
    seed: int = 7
    full: bool = False
    promote: bool = False
    only_if_new: bool = False
    by: str = "training"

    @property
    def requested_configuration(self) -> dict[str, Any]:
        chosen = {"n_clusters": self.n_clusters} if self.n_clusters else {}
        return {"method": str(self.method), **chosen}

    @property
    def is_warm_start(self) -> bool:
        """Whether a champion's groups are carried on, where there is one."""
        return not (self.full or self.n_clusters)

    @property
    def selects_n_clusters(self) -> bool:
        """Whether the latest week's plays choose how many groups there are: never against a hand's choice."""
        return self.full and not self.n_clusters and self.method == ModelVersion.Method.MIX


class TrainingProgress:
    """Follows a training; this one looks away."""

    def on_stage(self, run: TrainingRun, name: str, step: int, steps: int) -> None:
        """A stage begins: which one, of how many."""


STAGES: Final = ("reading songs", "reading listeners", "reading sessions and feedback",
                 "learning from the past", "measuring on the latest week", "learning from everything",
                 "grouping and naming", "writing the artifact")  # fmt: skip


def retrain(options: TrainingOptions, progress: TrainingProgress | None = None) -> TrainingRun:
    """Learn a new version from the tables, measure it and store it.

    Returns:
        The finished training: succeeded with a version, or refused with the reason.

    Raises:
        AlreadyTraining: another training holds the lock.
        Exception: what nobody foresaw; the training's row says that it failed.
    """
    run = _create_run(options)
    with add_log_context(training=run.pk):
        logger.info("training_started training=%s trigger=%s method=%s", run.pk, run.trigger, options.method)
        job = _TrainingJob(run, options, progress or TrainingProgress())
        with job.recording_outcome(), run_heartbeat_thread(job.heartbeat, job.meter):
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
        at_work = find_running(TrainingRun)
        if at_work is None:
            raise
        raise AlreadyTraining(at_work) from None


@dataclass
class _TrainingJob:
    """One training at work."""

    run: TrainingRun
    options: TrainingOptions
    progress: TrainingProgress
    meter: ResourceMeter = field(default_factory=ResourceMeter)

    def __post_init__(self) -> None:
        self.heartbeat = JobHeartbeat(self.run)

    @contextmanager
    def recording_outcome(self) -> Iterator[None]:
        """Whatever happens inside, the training's row says how it ended."""
        try:
            yield
        except LockLost:
            raise
        except EngineError as error:
            self._finish(TrainingRun.Status.REFUSED, error_kind=type(error).__name__, error=str(error))
        except BaseException as error:
            if not connection.in_atomic_block:
                connection.close_if_unusable_or_obsolete()
            name = type(error).__name__
            text = str(error).partition("\n")[0]
            self._finish(TrainingRun.Status.FAILED, error_kind=name[:40], error=f"{name}: {text}")
            raise

    def execute(self) -> None:
        order = self.options
        artifact_folders.prepare_storage(order.storage)
        data = read_training_data(order.cut_off, self._begin_stage)
        if not data.catalogue.n_songs:
            raise TooFewSongs("There are no songs to learn from. Read the source: python manage.py runingest")
        if order.only_if_new:
            require_new_data(
                data, method=order.method, seed=order.seed, n_clusters=order.n_clusters, full=order.full
            )
        self._begin_stage("learning from the past")
        before = read_champion_clusters(data.catalogue.ids, order.method, order.storage)
        basis = build_warm_start(
            data.catalogue, order.method, order.storage, before if order.is_warm_start else None, order.seed,
            chooses=order.selects_n_clusters,
        )  # fmt: skip
        measured = evaluate_on_latest_week(
            data, order.requested_configuration, order.seed, self._begin_stage, basis
        )
        self._begin_stage("learning from everything")
        training = data.to_training(
            seed=order.seed, configuration=order.requested_configuration | measured.chosen_configuration
        )
        model = fit_final_model(replace(training, warm_start=basis.carried_clusters), measured)
        self._begin_stage("grouping and naming")
        heard = apply_votes(model, data, order.seed) if isinstance(model, MixModel) else None
        model = heard.model if heard else model
        groups = summarize_clusters(model, data, order.storage, basis.cluster_names)
        numbers = {"metrics": measured.metrics, "cohesion": cohesion_metrics(model)}
        numbers |= lineage_fields(before, model, groups, data, is_warm_start=order.is_warm_start)
        parent = before if basis.carried_clusters else None
        numbers["configuration"] = order.requested_configuration | {
            "weights": model.facts().get("weights", {}),
            FINGERPRINT_KEY: compute_fingerprint(data),
            "clusters": describe_n_clusters(
                groups, measured, parent, requested_n_clusters=order.n_clusters, full=order.full
            ),
        }
        self._begin_stage("writing the artifact")
        self._store(data, model, groups, numbers, basis.artifact_arrays(), heard, measured)

    def _store(
        self,
        data: TrainingData,
        model: MixModel | ClassicModel,
        clusters: list[ClusterSummary],
        numbers: dict[str, Any],
        extra_arrays: dict[str, NDArray[Any]],
        applied_votes: AppliedVotes | None,
        evaluation: TrainingEvaluation,
    ) -> None:
        """Files first, then the rows: a version's row never names files that are not there.

        All rows at once: a version whose training was killed before its end would be nobody's, and keep
        the next one from learning, for nothing would be new.
        """
        order = self.options
        label = artifact_folders.next_free_label(order.storage, timezone.now())
        ids = np.array([group.number for group in clusters], dtype=np.int32)
        arrays = {**model.arrays(), **extra_arrays, "song_ids": data.catalogue.ids, "cluster_ids": ids}
        if applied_votes is not None:
            arrays[LABELS_WITHOUT_FEEDBACK] = applied_votes.labels_without_feedback
        facts = {**model.facts(), "label": label, "seed": order.seed, "clusters": manifest_entries(clusters),
                 "training": artifact_folders.training_signature(self.run)}  # fmt: skip
        sha256 = artifact.write_arrays(order.storage / label, arrays, facts)
        now = timezone.now()
        self.meter.sample()
        with transaction.atomic():
            self.heartbeat.send()
            catalogue_generation.require_no_reset(self.run.started_at)
            version = ModelVersion.objects.create(
                label=label, method=order.method, created_at=now, cut_off=data.cut_off or now,
                n_songs=data.catalogue.n_songs, n_listeners=data.n_active_listeners, n_plays=data.n_plays,
                n_clusters=len(clusters), seed=order.seed,
                artifact_sha256=sha256, artifact_bytes=artifact.size_in_bytes(order.storage / label),
                seconds=self.meter.seconds, cpu_seconds=self.meter.cpu_seconds,
                peak_memory=self.meter.peak_memory, **numbers,
            )  # fmt: skip
            Cluster.objects.bulk_create(group.to_row(version) for group in clusters)
            if applied_votes is not None:
                SongEvidence.objects.bulk_create(
                    applied_votes.evidence_rows(version, data.catalogue.ids, clusters)
                )
            told = self._promote_if_wanted(version, evaluation)
            self._finish(TrainingRun.Status.SUCCEEDED, version=version, summary=told)

    def _promote_if_wanted(self, version: ModelVersion, evaluation: TrainingEvaluation) -> str:
        """The first good model becomes champion by itself; a later one only where that was asked for.

        Whatever hinders that, the version is there: it stays a candidate, and the sentence says why.
        """
        first, label = registry.current_champion() is None, version.label
        is_worse = first and evaluation.is_worse_than_popularity
        if not self.options.promote and (is_worse or not first):
            what = "is worse than popularity: it stays a candidate" if is_worse else "is a candidate"
            return (
                f"Version {label} {what}. {evaluation.sentence} To make it champion: "
                f"python manage.py promote {label} --reason '...'"
            )
        reason = f"{'The first model' if first else 'Asked for'}. {evaluation.sentence}"
        folder = self.options.storage / label
        try:
            registry.promote(
                version,
                reason=reason,
                by=self.options.by,
                only_if_no_champion=first and not self.options.promote,
                verify=lambda one: artifact.verify_files(folder, one.artifact_sha256),
            )
        except (registry.RegistryError, artifact.ArtifactError) as error:
            return f"Version {label} stays a candidate: {error} {evaluation.sentence}"
        return f"Version {label} is champion. {evaluation.sentence}"

    def _begin_stage(self, name: str) -> None:
        self.meter.sample()
        self.run.stage = name
        self.heartbeat.send()
        self.progress.on_stage(self.run, name, STAGES.index(name) + 1, len(STAGES))

    def _finish(self, status: str, **fields: Any) -> None:
        self.meter.sample()
        finish_job(
            self.run, status, cpu_seconds=self.meter.cpu_seconds, peak_memory=self.meter.peak_memory, **fields
        )
