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
from recommender.engine.algorithms.base import slice_profiles
from recommender.engine.algorithms.baselines import Popularity, Random, RP3beta
from recommender.engine.algorithms.classic import ClassicModel
from recommender.engine.algorithms.fit_classic import fit_classic
from recommender.engine.clustering.n_clusters import ClusterCountChoice
from recommender.engine.data import Profiles, RecommenderModel, TrainingSet, WarmStartClusters
from recommender.engine.evaluation.evaluate import (
    Evaluation,
    difference_from_floor,
    evaluate_lists,
    paired_difference,
)
from recommender.engine.evaluation.metrics import FEWEST_LISTENERS, LIST_LENGTH
from recommender.engine.evaluation.splitting import plays_of_new_songs, split_at
from recommender.engine.features import space_to_arrays
from recommender.engine.mix.fit import (
    ContentBuilder,
    content_features_of,
    fit_mix,
    fit_with_weights,
    no_builder,
    with_chosen_n_clusters,
)
from recommender.engine.mix.fit_components import ContentFeatures
from recommender.engine.mix.model import MixModel
from recommender.engine.parallel import two_workers
from recommender.listener_profiles import find_columns
from recommender.models import ModelVersion
from recommender.training.dataset import TrainingData, weight_by_recency

WEEK_SECONDS: Final = 7 * 86_400.0  # seconds
# Listeners x songs that are scored: 1 000 listeners at 60 000 songs; more change the third digit.
MAX_SCORED_CELLS: Final = 60_000_000
MAX_LISTENERS: Final = 2_000
CELLS_PER_BATCH: Final = 8_000_000  # of these cells at once: 32 MB, and as much for each step of a term
# What any model must beat, learnt from the same past.
BASELINES: Final = (Popularity, Random, RP3beta)
MAX_CHAMPION_OVERLAP_SECONDS: Final = (
    3 * 86_400.0
)  # seconds of the week, of which the champion may have learnt
CHAMPION_DRAW_SEED: Final = 7
NOT_MEASURED: Final = (
    "It could not be measured: nobody has played a new song in a week after others were learnt from."
)


@dataclass(frozen=True)
class TrainingEvaluation:
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
    model_name: str = "mix"
    content_features: ContentFeatures | None = None
    labels: NDArray[np.int32] | None = None
    n_clusters_choice: ClusterCountChoice | None = None

    @property
    def chosen_configuration(self) -> dict[str, Any]:
        """What the final model's configuration takes over."""
        return {"n_clusters": self.n_clusters_choice.n_clusters} if self.n_clusters_choice else {}

    @property
    def sentence(self) -> str:
        """What the numbers say, for a ledger or a terminal."""
        ours, floor = (self.metrics.get(name, {}).get("ndcg") for name in (self.model_name, "popularity"))
        if ours is None:
            return NOT_MEASURED
        times = f", {ours / floor:.1f} times popularity's" if floor else ""
        listeners = self.metrics[self.model_name]["listeners"]
        return f"NDCG@20 {ours:.4f} on the latest week{times} ({listeners} listeners)."

    @property
    def is_worse_than_popularity(self) -> bool:
        """Whether it is, by enough listeners to say so."""
        own, popularity = (self.metrics.get(name, {}) for name in (self.model_name, "popularity"))
        ours, floor = own.get("ndcg"), popularity.get("ndcg")
        return (
            ours is not None and floor is not None and ours < floor and own["listeners"] >= FEWEST_LISTENERS
        )


@dataclass(frozen=True)
class HoldoutWeek:
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
    start_seconds: float


@dataclass(frozen=True)
class ReferenceModel:
    """The champion, to be compared with: it may not have learnt from the week.

    Attributes:
        cut_off: seconds since 1970, up to which it has learnt.
    """

    label: str
    model: RecommenderModel
    song_ids: NDArray[np.int64]
    cut_off_seconds: float


@dataclass(frozen=True)
class WarmStart:
    """What a training goes on from; nothing, where it begins afresh.

    Attributes:
        lay: brings what is known of the songs, in the champion's space where that is carried on.
        carried: the champion's groups, to be carried on.
        champion: to be compared with.
        names: of the groups carried on, by number, in the order of their labels.
        chooses: whether the latest week's plays choose how many groups there are.
    """

    build_content_features: ContentBuilder = no_builder
    carried_clusters: WarmStartClusters | None = None
    reference: ReferenceModel | None = None
    cluster_names: dict[int, str] = field(default_factory=dict)
    selects_n_clusters: bool = False

    @cached_property
    def content_features(self) -> ContentFeatures | None:
        """What is known of the songs, found when it is first asked for."""
        return self.build_content_features()

    def artifact_arrays(self) -> dict[str, NDArray[Any]]:
        """What the artifact keeps for the next refresh."""
        return (
            space_to_arrays(self.content_features.space)
            if self.content_features and self.content_features.space
            else {}
        )


def evaluate_on_latest_week(
    data: TrainingData,
    configuration: dict[str, Any],
    seed: int,
    on_stage: Callable[[str], None],
    warm_start: WarmStart,
) -> TrainingEvaluation:
    """Learn from all but the latest week and compare with the baselines on that week.

    Args:
        basis: what it goes on from, and the champion to be compared with, if it has not seen the week.
    """
    week = latest_week(data, seed)
    if week is None:
        return TrainingEvaluation(content_features=warm_start.content_features)
    training = replace(
        week.past.to_training(seed=seed, configuration=configuration), warm_start=warm_start.carried_clusters
    )
    with two_workers() as begin:
        fits: list[Callable[[], RecommenderModel]] = [partial(kind.fit, training) for kind in BASELINES]
        others = begin(fits)
        model, choice = _fit_on_past(training, week, warm_start)
        on_stage("measuring on the latest week")
        each = _evaluate_each(week, [model, *others()])
    metrics: dict[str, dict[str, Any]] = {name: found.summary() for name, found in each.items()}
    metrics["against_floor"] = difference_from_floor(model.name, each)
    if (
        warm_start.reference is not None
        and (match := _without_seen_days(data, week, warm_start.reference.cut_off_seconds)) is not None
    ):
        metrics["against_champion"] = _compare_with_champion(match, model, warm_start.reference)
    if isinstance(model, MixModel):
        found = warm_start.content_features or content_features_of(model)
        return TrainingEvaluation(metrics, model.weights, model.name, found, model.labels, choice)
    return TrainingEvaluation(metrics, model_name=model.name)


def _fit_on_past(
    training: TrainingSet, week: HoldoutWeek, warm_start: WarmStart
) -> tuple[MixModel | ClassicModel, ClusterCountChoice | None]:
    model = _fit_classic_if_configured(training) or fit_mix(
        training, refit=False, build_content=lambda: warm_start.content_features
    )
    if warm_start.selects_n_clusters and isinstance(model, MixModel):
        return with_chosen_n_clusters(model, week.profiles, week.test, seed=training.seed)
    return model, None


def _without_seen_days(data: TrainingData, week: HoldoutWeek, cut_off: float) -> HoldoutWeek | None:
    """The week without what was learnt from up to `cut_off`; None where too little is left."""
    if cut_off <= week.start_seconds:
        return week
    if cut_off > week.start_seconds + MAX_CHAMPION_OVERLAP_SECONDS:
        return None
    before, later = split_at(data.plays, cut_off)[0], split_at(data.organic, cut_off)[1]
    test = plays_of_new_songs(later.matrix(), before.matrix())[week.rows]
    return replace(week, test=test) if test.nnz else None


def _compare_with_champion(
    week: HoldoutWeek, model: RecommenderModel, reference: ReferenceModel
) -> dict[str, Any]:
    """NDCG less the champion's, paired by listener, with a 95 % interval by bootstrap."""
    artists = week.past.catalogue.artist_codes()
    own = model.recommend(week.profiles, LIST_LENGTH)
    others = _recommend_for_week(week, reference.model, reference.song_ids, CHAMPION_DRAW_SEED)
    ours, theirs = (evaluate_lists(lists, week.test, artists=artists).ndcg_each for lists in (own, others))
    return {"champion": reference.label, **paired_difference(ours, theirs)}


def fit_final_model(training: TrainingSet, evaluation: TrainingEvaluation) -> MixModel | ClassicModel:
    """A model of all plays, by the method that the configuration names, with the weights as measured."""
    lay, start = (lambda: evaluation.content_features), evaluation.labels
    return _fit_classic_if_configured(training) or fit_with_weights(
        training, evaluation.weights, build_content=lay, start_labels=start
    )


def _fit_classic_if_configured(training: TrainingSet) -> ClassicModel | None:
    """A classic model, where the configuration asks for one."""
    if training.configuration["method"] != ModelVersion.Method.CLASSIC:
        return None
    n_clusters = training.configuration.get("n_clusters")
    return fit_classic(training, n_clusters=int(n_clusters) if n_clusters else None)


def evaluate_models(week: HoldoutWeek, models: Sequence[RecommenderModel]) -> dict[str, dict[str, Any]]:
    """Each model's metrics on the week, by its name."""
    return {name: found.summary() for name, found in _evaluate_each(week, models).items()}


def _evaluate_each(week: HoldoutWeek, models: Sequence[RecommenderModel]) -> dict[str, Evaluation]:
    artists = week.past.catalogue.artist_codes()
    size = max(1, CELLS_PER_BATCH // max(1, week.test.shape[1]))
    pieces = [slice_profiles(week.profiles, start, start + size) for start in range(0, week.profiles.n, size)]
    with two_workers() as begin:
        begun = [
            begin([partial(model.recommend, piece, LIST_LENGTH) for piece in pieces]) for model in models
        ]
        lists = [np.concatenate(bring()) for bring in begun]
    return {
        model.name: evaluate_lists(of_model, week.test, artists=artists)
        for model, of_model in zip(models, lists, strict=True)
    }


def load_model(version: ModelVersion, storage: Path) -> tuple[MixModel | ClassicModel, NDArray[np.int64]]:
    """A version's model, by its method, and the ids of its songs.

    Raises:
        ArtifactError: its files are missing or damaged.
    """
    arrays, facts = artifact.read_arrays(storage / version.label, version.artifact_sha256)
    kind = ClassicModel if version.method == ModelVersion.Method.CLASSIC else MixModel
    return kind.from_parts(arrays, facts), arrays["song_ids"]


def evaluate_with_baselines(
    week: HoldoutWeek, model: RecommenderModel, song_ids: NDArray[np.int64], seed: int
) -> dict[str, dict[str, Any]]:
    """A version that was trained on fewer songs, beside the baselines; its song j is `song_ids[j]`."""
    lists = _recommend_for_week(week, model, song_ids, seed)
    found = evaluate_lists(lists, week.test, artists=week.past.catalogue.artist_codes())
    training = week.past.to_training(seed=seed, configuration={})
    return {model.name: found.summary(), **evaluate_models(week, [kind.fit(training) for kind in BASELINES])}


def _recommend_for_week(
    week: HoldoutWeek, model: RecommenderModel, song_ids: NDArray[np.int64], seed: int
) -> NDArray[np.int32]:
    """What a version would have recommended for the week, in today's columns."""
    columns, there = find_columns(week.past.catalogue.ids, song_ids)
    # Songs are never deleted: a version's are all still there.
    columns = columns[there]
    known = week.profiles
    profiles = Profiles(
        known.plays[:, columns],
        _select_columns(known.recent, columns),
        _select_columns(known.skips, columns),
        known.genres,
        known.keys,
    )
    lists = model.recommend(profiles, LIST_LENGTH, seed=seed)
    return np.where(lists >= 0, columns[lists], -1).astype(np.int32)


def _select_columns(matrix: csr_array | None, columns: NDArray[np.int64]) -> csr_array | None:
    return None if matrix is None else matrix[:, columns]


def latest_week(data: TrainingData, seed: int) -> HoldoutWeek | None:
    """The week before the newest play; None where it, or the time before it, holds nothing to go by."""
    if not data.n_plays:
        return None
    instant = float(data.plays.at.max()) - WEEK_SECONDS
    past = data.up_to(instant)
    plays = past.plays.matrix()
    later = split_at(data.organic, instant)[1].matrix()
    test = plays_of_new_songs(later, plays)
    rows = np.flatnonzero((np.diff(plays.indptr) > 0) & (np.diff(test.indptr) > 0))
    most = max(1, min(MAX_LISTENERS, MAX_SCORED_CELLS // max(1, plays.shape[1])))
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    if not len(rows):
        return None
    return HoldoutWeek(past, rows, build_profiles(past, plays, rows, instant), test[rows], instant)


def build_profiles(past: TrainingData, plays: csr_array, rows: NDArray[np.int64], now: float) -> Profiles:
    return Profiles(
        plays[rows], weight_by_recency(past.plays, now)[rows], past.skips.matrix()[rows],
        [past.genres[row] for row in rows], past.listener_ids[rows],
    )  # fmt: skip
