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

from ingestion.jobs.lock import Heart, RunLost, abandon_dead, at_work_on, finish, holder, running
from ingestion.jobs.resource_usage import Meter, kept_alive
from recommender import catalogue_generation
from recommender.engine import artifact
from recommender.engine.algorithms.classic import Classic
from recommender.engine.data import EngineError, TooFewSongs
from recommender.engine.mix.model import Mix
from recommender.models import Cluster, ModelVersion, SongEvidence, TrainingRun
from recommender.registry import artifact_folders, registry
from recommender.training.cluster_feedback import Heard, hear
from recommender.training.clusters import Group, cohesion_of, facts_of, groups_of
from recommender.training.data_fingerprint import LEARNT_FROM, digest_of, require_news
from recommender.training.dataset import TrainingData, read_training_data
from recommender.training.evaluation import Measured, learnt, measure
from recommender.training.warm_start import BY_SOUND, basis_of, clusters_told, family_of, previous_of

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
class Order:
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
    def configuration(self) -> dict[str, Any]:
        chosen = {"n_clusters": self.n_clusters} if self.n_clusters else {}
        return {"method": str(self.method), **chosen}

    @property
    def is_refresh(self) -> bool:
        """Whether a champion's groups are carried on, where there is one."""
        return not (self.full or self.n_clusters)

    @property
    def chooses(self) -> bool:
        """Whether the latest week's plays choose how many groups there are: never against a hand's choice."""
        return self.full and not self.n_clusters and self.method == ModelVersion.Method.MIX


class Watch:
    """Follows a training; this one looks away."""

    def stage(self, run: TrainingRun, name: str, step: int, steps: int) -> None:
        """A stage begins: which one, of how many."""


STAGES: Final = ("reading songs", "reading listeners", "reading sessions and feedback",
                 "learning from the past", "measuring on the latest week", "learning from everything",
                 "grouping and naming", "writing the artifact")  # fmt: skip


def retrain(order: Order, watch: Watch | None = None) -> TrainingRun:
    """Learn a new version from the tables, measure it and store it.

    Returns:
        The finished training: succeeded with a version, or refused with the reason.

    Raises:
        AlreadyTraining: another training holds the lock.
        Exception: what nobody foresaw; the training's row says that it failed.
    """
    run = _begin(order)
    with at_work_on(training=run.pk):
        logger.info("training_started training=%s trigger=%s method=%s", run.pk, run.trigger, order.method)
        job = _Job(run, order, watch or Watch())
        with job.ending(), kept_alive(job.heart, job.meter):
            job.work()
        run.refresh_from_db()
        version = run.version or "-"
        logger.info("training_finished training=%s status=%s version=%s", run.pk, run.status, version)
    return run


def _begin(order: Order) -> TrainingRun:
    now = timezone.now()
    try:
        with transaction.atomic():
            abandon_dead(TrainingRun, now)
            return TrainingRun.objects.create(
                trigger=order.trigger, full=order.full, started_at=now, heartbeat_at=now, **holder()
            )
    except IntegrityError:
        at_work = running(TrainingRun)
        if at_work is None:
            raise
        raise AlreadyTraining(at_work) from None


@dataclass
class _Job:
    """One training at work."""

    run: TrainingRun
    order: Order
    watch: Watch
    meter: Meter = field(default_factory=Meter)

    def __post_init__(self) -> None:
        self.heart = Heart(self.run)

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Whatever happens inside, the training's row says how it ended."""
        try:
            yield
        except RunLost:
            raise
        except EngineError as error:
            self._end(TrainingRun.Status.REFUSED, error_kind=type(error).__name__, error=str(error))
        except BaseException as error:
            if not connection.in_atomic_block:
                connection.close_if_unusable_or_obsolete()
            name = type(error).__name__
            text = str(error).partition("\n")[0]
            self._end(TrainingRun.Status.FAILED, error_kind=name[:40], error=f"{name}: {text}")
            raise

    def work(self) -> None:
        order = self.order
        artifact_folders.prepare(order.storage)
        data = read_training_data(order.cut_off, self._stage)
        if not data.catalogue.n_songs:
            raise TooFewSongs("There are no songs to learn from. Read the source: python manage.py runingest")
        if order.only_if_new:
            require_news(
                data, method=order.method, seed=order.seed, n_clusters=order.n_clusters, full=order.full
            )
        self._stage("learning from the past")
        before = previous_of(data.catalogue.ids, order.method, order.storage)
        basis = basis_of(
            data.catalogue, order.method, order.storage, before if order.is_refresh else None, order.seed,
            chooses=order.chooses,
        )  # fmt: skip
        measured = measure(data, order.configuration, order.seed, self._stage, basis)
        self._stage("learning from everything")
        training = data.training(seed=order.seed, configuration=order.configuration | measured.chosen)
        model = learnt(replace(training, carried=basis.carried), measured)
        self._stage("grouping and naming")
        heard = hear(model, data, order.seed) if isinstance(model, Mix) else None
        model = heard.model if heard else model
        groups = groups_of(model, data, order.storage, basis.names)
        numbers = {"metrics": measured.metrics, "cohesion": cohesion_of(model)}
        numbers |= family_of(before, model, groups, data, is_refresh=order.is_refresh)
        parent = before if basis.carried else None
        numbers["configuration"] = order.configuration | {
            "weights": model.facts().get("weights", {}), LEARNT_FROM: digest_of(data),
            "clusters": clusters_told(groups, measured, parent, by_hand=order.n_clusters, full=order.full),
        }  # fmt: skip
        self._stage("writing the artifact")
        self._store(data, model, groups, numbers, basis.arrays(), heard, measured)

    def _store(
        self,
        data: TrainingData,
        model: Mix | Classic,
        groups: list[Group],
        numbers: dict[str, Any],
        extra: dict[str, NDArray[Any]],
        heard: Heard | None,
        measured: Measured,
    ) -> None:
        """Files first, then the rows: a version's row never names files that are not there.

        All rows at once: a version whose training was killed before its end would be nobody's, and keep
        the next one from learning, for nothing would be new.
        """
        order = self.order
        label = artifact_folders.free_label(order.storage, timezone.now())
        ids = np.array([group.number for group in groups], dtype=np.int32)
        arrays = {**model.arrays(), **extra, "song_ids": data.catalogue.ids, "cluster_ids": ids}
        if heard is not None:
            arrays[BY_SOUND] = heard.by_sound
        facts = {**model.facts(), "label": label, "seed": order.seed, "clusters": facts_of(groups),
                 "training": artifact_folders.signature_of(self.run)}  # fmt: skip
        sha256 = artifact.write(order.storage / label, arrays, facts)
        now = timezone.now()
        self.meter.sample()
        with transaction.atomic():
            self.heart.beat_now()
            catalogue_generation.require_same(self.run.started_at)
            version = ModelVersion.objects.create(
                label=label, method=order.method, created_at=now, cut_off=data.cut_off or now,
                n_songs=data.catalogue.n_songs, n_listeners=data.n_active, n_plays=data.n_plays,
                n_clusters=len(groups), seed=order.seed,
                artifact_sha256=sha256, artifact_bytes=artifact.size(order.storage / label),
                seconds=self.meter.seconds, cpu_seconds=self.meter.cpu_seconds,
                peak_memory=self.meter.peak_memory, **numbers,
            )  # fmt: skip
            Cluster.objects.bulk_create(group.row(version) for group in groups)
            if heard is not None:
                SongEvidence.objects.bulk_create(heard.rows(version, data.catalogue.ids, groups))
            told = self._enthrone(version, measured)
            self._end(TrainingRun.Status.SUCCEEDED, version=version, summary=told)

    def _enthrone(self, version: ModelVersion, measured: Measured) -> str:
        """The first good model becomes champion by itself; a later one only where that was asked for.

        Whatever hinders that, the version is there: it stays a candidate, and the sentence says why.
        """
        first, label = registry.champion_row() is None, version.label
        is_worse = first and measured.is_worse_than_popularity
        if not self.order.promote and (is_worse or not first):
            what = "is worse than popularity: it stays a candidate" if is_worse else "is a candidate"
            return (
                f"Version {label} {what}. {measured.sentence} To make it champion: "
                f"python manage.py promote {label} --reason '...'"
            )
        reason = f"{'The first model' if first else 'Asked for'}. {measured.sentence}"
        folder = self.order.storage / label
        try:
            registry.promote(
                version, reason=reason, by=self.order.by, only_first=first and not self.order.promote,
                verify=lambda one: artifact.verify(folder, one.artifact_sha256),
            )  # fmt: skip
        except (registry.RegistryError, artifact.ArtifactError) as error:
            return f"Version {label} stays a candidate: {error} {measured.sentence}"
        return f"Version {label} is champion. {measured.sentence}"

    def _stage(self, name: str) -> None:
        self.meter.sample()
        self.run.stage = name
        self.heart.beat_now()
        self.watch.stage(self.run, name, STAGES.index(name) + 1, len(STAGES))

    def _end(self, status: str, **fields: Any) -> None:
        self.meter.sample()
        finish(
            self.run, status, cpu_seconds=self.meter.cpu_seconds, peak_memory=self.meter.peak_memory, **fields
        )
