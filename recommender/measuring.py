"""How good a model would have been: learnt from all but the latest week, asked for that week."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.engine import artifact
from recommender.engine.baselines import Popularity, Random, RP3beta
from recommender.engine.catalogue import Model, Profiles, Training
from recommender.engine.classic import Classic
from recommender.engine.evaluation import evaluate, of_lists
from recommender.engine.learning import fit_mix, learn
from recommender.engine.learning_classic import fit_classic
from recommender.engine.mix import Mix
from recommender.engine.splitting import split_at
from recommender.matrices import TrainingData, recent
from recommender.models import ModelVersion
from recommender.profiles import columns_of

WEEK: Final = 7 * 86_400.0  # seconds
# Listeners x songs that are scored: 1 000 listeners at 60 000 songs; more change the third digit.
CELLS: Final = 60_000_000
MOST_LISTENERS: Final = 2_000
LIST: Final = 20
ENOUGH: Final = 30  # listeners; what fewer of them play is chance
NOT_MEASURED: Final = (
    "It could not be measured: nobody has played a new song in a week after others were learnt from."
)


@dataclass(frozen=True)
class Measured:
    """What came out.

    Attributes:
        metrics: by model's name the metrics of `Evaluation.summary`; {} where nothing could be measured.
        weights: the blend's weights as tuned; None: they could not be, or the model has none.
        name: which of the models is ours.
        content: the songs' metadata as points, which the final model can take over.
    """

    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    weights: NDArray[np.float64] | None = None
    name: str = "mix"
    content: NDArray[np.float32] | None = None

    @property
    def sentence(self) -> str:
        """What the numbers say, for a ledger or a terminal."""
        ours, floor = (self.metrics.get(name, {}).get("ndcg") for name in (self.name, "popularity"))
        if ours is None:
            return NOT_MEASURED
        times = f", {ours / floor:.1f} times popularity's" if floor else ""
        listeners = self.metrics[self.name]["listeners"]
        return f"NDCG@20 {ours:.4f} on the latest week{times} ({listeners} listeners)."

    @property
    def is_worse_than_popularity(self) -> bool:
        """Whether it is, by enough listeners to say so."""
        own, popularity = (self.metrics.get(name, {}) for name in (self.name, "popularity"))
        ours, floor = own.get("ndcg"), popularity.get("ndcg")
        return ours is not None and floor is not None and ours < floor and own["listeners"] >= ENOUGH


@dataclass(frozen=True)
class Week:
    """The latest week's new songs of some listeners, and what was known of them before.

    Attributes:
        past: all that was known before the week.
        rows: the listeners' rows.
        profiles: theirs alone, in the same order.
        test: shape (n, n_songs), what they played in the week and had not played before.
    """

    past: TrainingData
    rows: NDArray[np.int64]
    profiles: Profiles
    test: csr_array


def measure(
    data: TrainingData, configuration: dict[str, Any], seed: int, on_stage: Callable[[str], None]
) -> Measured:
    """Learn from all but the latest week and compare with the baselines on that week."""
    week = latest_week(data, seed)
    if week is None:
        return Measured()
    model = _fitted(week.past.training(seed=seed, configuration=configuration))
    on_stage("measuring on the latest week")
    metrics = compare(week, [model, *baselines(week, seed)])
    if isinstance(model, Mix):
        return Measured(metrics, model.weights, model.name, model.parts.content)
    return Measured(metrics, name=model.name)


def learnt(training: Training, measured: Measured) -> Mix | Classic:
    """A model of all plays, by the method that the configuration names, with the weights as measured."""
    if _is_classic(training):
        return _classic(training)
    return learn(training, measured.weights, content=measured.content)


def _fitted(training: Training) -> Mix | Classic:
    return _classic(training) if _is_classic(training) else fit_mix(training, refit=False)


def _is_classic(training: Training) -> bool:
    return training.configuration["method"] == ModelVersion.Method.CLASSIC


def _classic(training: Training) -> Classic:
    n_clusters = training.configuration.get("n_clusters")
    return fit_classic(training, n_clusters=int(n_clusters) if n_clusters else None)


def baselines(week: Week, seed: int) -> list[Model]:
    """What any model must beat, learnt from the same past."""
    training = week.past.training(seed=seed, configuration={})
    return [kind.fit(training) for kind in (Popularity, Random, RP3beta)]


def compare(week: Week, models: list[Model]) -> dict[str, dict[str, Any]]:
    """Each model's metrics on the week, by its name."""
    artists = week.past.catalogue.artist_codes()
    return {
        model.name: evaluate(model, week.profiles, week.test, artists=artists).summary() for model in models
    }


def open_model(version: ModelVersion, storage: Path) -> tuple[Mix | Classic, NDArray[np.int64]]:
    """A version's model, by its method, and the ids of its songs.

    Raises:
        ArtifactError: its files are missing or damaged.
    """
    arrays, facts = artifact.read(storage / version.label, version.artifact_sha256)
    kind = Classic if version.method == ModelVersion.Method.CLASSIC else Mix
    return kind.from_parts(arrays, facts), arrays["song_ids"]


def compare_version(
    week: Week, model: Model, song_ids: NDArray[np.int64], seed: int
) -> dict[str, dict[str, Any]]:
    """A version that was trained on fewer songs, beside the baselines; its song j is `song_ids[j]`."""
    columns, there = columns_of(week.past.catalogue.ids, song_ids)
    # Songs are never deleted: a version's are all still there.
    columns = columns[there]
    known = week.profiles
    profiles = Profiles(
        known.plays[:, columns], _columns(known.recent, columns), _columns(known.skips, columns),
        known.genres, known.keys,
    )  # fmt: skip
    lists = model.recommend(profiles, LIST, seed=seed)
    lists = np.where(lists >= 0, columns[lists], -1).astype(np.int32)
    found = of_lists(lists, week.test, artists=week.past.catalogue.artist_codes())
    return {model.name: found.summary(), **compare(week, baselines(week, seed))}


def _columns(matrix: csr_array | None, columns: NDArray[np.int64]) -> csr_array | None:
    return None if matrix is None else matrix[:, columns]


def latest_week(data: TrainingData, seed: int) -> Week | None:
    """The week before the newest play; None where it, or the time before it, holds nothing to go by."""
    if not data.n_plays:
        return None
    instant = float(data.plays.at.max()) - WEEK
    past = data.up_to(instant)
    plays = past.plays.matrix()
    later = split_at(data.plays, instant)[1].matrix()
    test = _new_songs(later, plays)
    rows = np.flatnonzero((np.diff(plays.indptr) > 0) & (np.diff(test.indptr) > 0))
    most = max(1, min(MOST_LISTENERS, CELLS // max(1, plays.shape[1])))
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    if not len(rows):
        return None
    return Week(past, rows, profiles_of(past, plays, rows, instant), test[rows])


def profiles_of(past: TrainingData, plays: csr_array, rows: NDArray[np.int64], now: float) -> Profiles:
    return Profiles(
        plays[rows], recent(past.plays, now)[rows], past.skips.matrix()[rows],
        [past.genres[row] for row in rows], past.listener_ids[rows],
    )  # fmt: skip


def _new_songs(later: csr_array, before: csr_array) -> csr_array:
    """The plays of songs that the same listener had not played before."""
    known = before.copy()
    known.data = np.ones_like(known.data)
    ones = later.copy()
    ones.data = np.ones_like(ones.data)
    fresh = csr_array(ones - ones.multiply(known))
    fresh.eliminate_zeros()
    return fresh
