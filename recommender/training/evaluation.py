"""How good a model would have been: learnt from all but the latest week, asked for that week."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.engine import artifact
from recommender.engine.algorithms.base import rows_of
from recommender.engine.algorithms.baselines import Popularity, Random, RP3beta
from recommender.engine.algorithms.classic import Classic, fit_classic
from recommender.engine.clustering.n_clusters import Choice
from recommender.engine.data import Carried, Model, Profiles, Training
from recommender.engine.evaluation.evaluate import Evaluation, against_floor, of_lists, paired
from recommender.engine.evaluation.metrics import ENOUGH
from recommender.engine.evaluation.splitting import new_songs, split_at
from recommender.engine.features import packed
from recommender.engine.mix.fit import Lay, fit_mix, ground_under, learn, unlaid, with_chosen_k
from recommender.engine.mix.fit_components import Ground
from recommender.engine.mix.model import Mix
from recommender.engine.parallel import two_lanes
from recommender.listener_profiles import columns_of
from recommender.models import ModelVersion
from recommender.training.dataset import TrainingData, recent

WEEK: Final = 7 * 86_400.0  # seconds
# Listeners x songs that are scored: 1 000 listeners at 60 000 songs; more change the third digit.
CELLS: Final = 60_000_000
MOST_LISTENERS: Final = 2_000
PIECE: Final = 8_000_000  # of these cells at once: 32 MB, and as much for each step of a term
LIST: Final = 20
# What any model must beat, learnt from the same past.
BASELINES: Final = (Popularity, Random, RP3beta)
MOST_SEEN: Final = 3 * 86_400.0  # seconds of the week, of which the champion may have learnt
LIST_SEED: Final = 7
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
        ground: what was learnt of the songs whoever plays them, which the final model can take over.
        labels: the songs' groups, from which the final model's can be moved on.
        choice: of the number of groups; None: nothing was to be chosen.
    """

    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    weights: NDArray[np.float64] | None = None
    name: str = "mix"
    ground: Ground | None = None
    labels: NDArray[np.int32] | None = None
    choice: Choice | None = None

    @property
    def chosen(self) -> dict[str, Any]:
        """What the final model's configuration takes over."""
        return {"n_clusters": self.choice.n_clusters} if self.choice else {}

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
        test: shape (n, n_songs), what they played in the week, by themselves, and had not played before.
        instant: when the week began, seconds since 1970.
    """

    past: TrainingData
    rows: NDArray[np.int64]
    profiles: Profiles
    test: csr_array
    instant: float


@dataclass(frozen=True)
class Rival:
    """The champion, to be compared with: it may not have learnt from the week.

    Attributes:
        cut_off: seconds since 1970, up to which it has learnt.
    """

    label: str
    model: Model
    song_ids: NDArray[np.int64]
    cut_off: float


@dataclass(frozen=True)
class Basis:
    """What a training goes on from; nothing, where it begins afresh.

    Attributes:
        lay: brings what is known of the songs, in the champion's space where that is carried on.
        carried: the champion's groups, to be carried on.
        champion: to be compared with.
        names: of the groups carried on, by number, in the order of their labels.
        chooses: whether the latest week's plays choose how many groups there are.
    """

    lay: Lay = unlaid
    carried: Carried | None = None
    champion: Rival | None = None
    names: dict[int, str] = field(default_factory=dict)
    chooses: bool = False

    @cached_property
    def ground(self) -> Ground | None:
        """What is known of the songs, found when it is first asked for."""
        return self.lay()

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What the artifact keeps for the next refresh."""
        return packed(self.ground.space) if self.ground and self.ground.space else {}


def measure(
    data: TrainingData,
    configuration: dict[str, Any],
    seed: int,
    on_stage: Callable[[str], None],
    basis: Basis,
) -> Measured:
    """Learn from all but the latest week and compare with the baselines on that week.

    Args:
        basis: what it goes on from, and the champion to be compared with, if it has not seen the week.
    """
    week = latest_week(data, seed)
    if week is None:
        return Measured(ground=basis.ground)
    training = replace(week.past.training(seed=seed, configuration=configuration), carried=basis.carried)
    with two_lanes() as begin:
        fits: list[Callable[[], Model]] = [partial(kind.fit, training) for kind in BASELINES]
        others = begin(fits)
        model, choice = _fitted(training, week, basis)
        on_stage("measuring on the latest week")
        each = _of_each(week, [model, *others()])
    metrics: dict[str, dict[str, Any]] = {name: found.summary() for name, found in each.items()}
    metrics["against_floor"] = against_floor(model.name, each)
    if basis.champion is not None and (match := _unseen(data, week, basis.champion.cut_off)) is not None:
        metrics["against_champion"] = _against(match, model, basis.champion)
    if isinstance(model, Mix):
        found = basis.ground or ground_under(model)
        return Measured(metrics, model.weights, model.name, found, model.labels, choice)
    return Measured(metrics, name=model.name)


def _fitted(training: Training, week: Week, basis: Basis) -> tuple[Mix | Classic, Choice | None]:
    model = _classic(training) or fit_mix(training, refit=False, lay=lambda: basis.ground)
    if basis.chooses and isinstance(model, Mix):
        return with_chosen_k(model, week.profiles, week.test, seed=training.seed)
    return model, None


def _unseen(data: TrainingData, week: Week, cut_off: float) -> Week | None:
    """The week without what was learnt from up to `cut_off`; None where too little is left."""
    if cut_off <= week.instant:
        return week
    if cut_off > week.instant + MOST_SEEN:
        return None
    before, later = split_at(data.plays, cut_off)[0], split_at(data.organic, cut_off)[1]
    test = new_songs(later.matrix(), before.matrix())[week.rows]
    return replace(week, test=test) if test.nnz else None


def _against(week: Week, model: Model, champion: Rival) -> dict[str, Any]:
    """NDCG less the champion's, paired by listener, with a 95 % interval by bootstrap."""
    artists = week.past.catalogue.artist_codes()
    own = model.recommend(week.profiles, LIST)
    others = _lists_of(week, champion.model, champion.song_ids, LIST_SEED)
    ours, theirs = (of_lists(lists, week.test, artists=artists).ndcg_each for lists in (own, others))
    return {"champion": champion.label, **paired(ours, theirs)}


def learnt(training: Training, measured: Measured) -> Mix | Classic:
    """A model of all plays, by the method that the configuration names, with the weights as measured."""
    lay, start = (lambda: measured.ground), measured.labels
    return _classic(training) or learn(training, measured.weights, lay=lay, start=start)


def _classic(training: Training) -> Classic | None:
    """A classic model, where the configuration asks for one."""
    if training.configuration["method"] != ModelVersion.Method.CLASSIC:
        return None
    n_clusters = training.configuration.get("n_clusters")
    return fit_classic(training, n_clusters=int(n_clusters) if n_clusters else None)


def compare(week: Week, models: Sequence[Model]) -> dict[str, dict[str, Any]]:
    """Each model's metrics on the week, by its name."""
    return {name: found.summary() for name, found in _of_each(week, models).items()}


def _of_each(week: Week, models: Sequence[Model]) -> dict[str, Evaluation]:
    artists = week.past.catalogue.artist_codes()
    size = max(1, PIECE // max(1, week.test.shape[1]))
    pieces = [rows_of(week.profiles, start, start + size) for start in range(0, week.profiles.n, size)]
    with two_lanes() as begin:
        begun = [begin([partial(model.recommend, piece, LIST) for piece in pieces]) for model in models]
        lists = [np.concatenate(bring()) for bring in begun]
    return {
        model.name: of_lists(of_model, week.test, artists=artists)
        for model, of_model in zip(models, lists, strict=True)
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
    lists = _lists_of(week, model, song_ids, seed)
    found = of_lists(lists, week.test, artists=week.past.catalogue.artist_codes())
    training = week.past.training(seed=seed, configuration={})
    return {model.name: found.summary(), **compare(week, [kind.fit(training) for kind in BASELINES])}


def _lists_of(week: Week, model: Model, song_ids: NDArray[np.int64], seed: int) -> NDArray[np.int32]:
    """What a version would have recommended for the week, in today's columns."""
    columns, there = columns_of(week.past.catalogue.ids, song_ids)
    # Songs are never deleted: a version's are all still there.
    columns = columns[there]
    known = week.profiles
    profiles = Profiles(
        known.plays[:, columns], _columns(known.recent, columns), _columns(known.skips, columns),
        known.genres, known.keys,
    )  # fmt: skip
    lists = model.recommend(profiles, LIST, seed=seed)
    return np.where(lists >= 0, columns[lists], -1).astype(np.int32)


def _columns(matrix: csr_array | None, columns: NDArray[np.int64]) -> csr_array | None:
    return None if matrix is None else matrix[:, columns]


def latest_week(data: TrainingData, seed: int) -> Week | None:
    """The week before the newest play; None where it, or the time before it, holds nothing to go by."""
    if not data.n_plays:
        return None
    instant = float(data.plays.at.max()) - WEEK
    past = data.up_to(instant)
    plays = past.plays.matrix()
    later = split_at(data.organic, instant)[1].matrix()
    test = new_songs(later, plays)
    rows = np.flatnonzero((np.diff(plays.indptr) > 0) & (np.diff(test.indptr) > 0))
    most = max(1, min(MOST_LISTENERS, CELLS // max(1, plays.shape[1])))
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    if not len(rows):
        return None
    return Week(past, rows, profiles_of(past, plays, rows, instant), test[rows], instant)


def profiles_of(past: TrainingData, plays: csr_array, rows: NDArray[np.int64], now: float) -> Profiles:
    return Profiles(
        plays[rows], recent(past.plays, now)[rows], past.skips.matrix()[rows],
        [past.genres[row] for row in rows], past.listener_ids[rows],
    )  # fmt: skip
