"""Offline evaluation on the latest week, of a model trained on all earlier data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.engine.algorithms.base import slice_profiles
from recommender.engine.algorithms.baselines import Popularity, Random, RP3beta
from recommender.engine.algorithms.classic import ClassicModel
from recommender.engine.algorithms.engines import Engine
from recommender.engine.algorithms.fit_classic import fit_classic
from recommender.engine.clustering.n_clusters import ClusterCountChoice
from recommender.engine.data import Profiles, RecommenderModel, TrainingSet
from recommender.engine.evaluation.evaluate import (
    Evaluation,
    difference_from_floor,
    differences_from_baselines,
    evaluate_lists,
    paired_difference,
)
from recommender.engine.evaluation.metrics import FEWEST_LISTENERS, LIST_LENGTH
from recommender.engine.evaluation.splitting import plays_of_new_songs, split_at
from recommender.engine.mix.fit import (
    content_features_of,
    fit_mix,
    fit_with_weights,
    with_chosen_n_clusters,
)
from recommender.engine.mix.fit_components import ContentFeatures
from recommender.engine.mix.model import MixModel
from recommender.engine.parallel import two_workers
from recommender.engine.song_columns import find_columns
from recommender.models import ModelVersion
from recommender.training.dataset import TrainingData, weight_by_recency
from recommender.training.stored_version import StoredVersion
from recommender.training.warm_start import ReferenceModel, WarmStart

WEEK_SECONDS: Final = 7 * 86_400.0
# Listeners x songs to score: 1 000 listeners for 60 000 songs. More would change only the third digit.
MAX_SCORED_CELLS: Final = 60_000_000
MAX_LISTENERS: Final = 2_000
CELLS_PER_BATCH: Final = 8_000_000  # scored at once: 32 MB, and the same again while a term is computed
# Baselines are trained on the same past; any model must beat them.
Baseline = type[Popularity] | type[Random] | type[RP3beta]
BASELINES: Final[tuple[Baseline, ...]] = (Popularity, Random, RP3beta)
# The champion is compared on the rest of the week if it was trained on at most this much of it.
MAX_CHAMPION_OVERLAP_SECONDS: Final = 3 * 86_400.0
CHAMPION_DRAW_SEED: Final = 7
NOT_MEASURED: Final = "Not measured: no listener with earlier plays played a new song in the latest week."


@dataclass(frozen=True)
class TrainingEvaluation:
    # `Evaluation.summary` by model name; {} if nothing could be measured.
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    # Tuned weights of the model's terms; None if they were not tuned or the model has none.
    weights: NDArray[np.float64] | None = None
    model_name: str = "mix"  # name of the new model in `metrics`
    # The songs' content features, which do not depend on plays.
    content_features: ContentFeatures | None = None
    # Each song's cluster, shape (n_songs,): the initial labels of the final fit.
    labels: NDArray[np.int32] | None = None
    n_clusters_choice: ClusterCountChoice | None = None  # None if the number of clusters was given

    @property
    def chosen_configuration(self) -> dict[str, Any]:
        return {"n_clusters": self.n_clusters_choice.n_clusters} if self.n_clusters_choice else {}

    @property
    def sentence(self) -> str:
        ours, floor = (self.metrics.get(name, {}).get("ndcg") for name in (self.model_name, "popularity"))
        if ours is None:
            return NOT_MEASURED
        times = f", {ours / floor:.1f} times popularity's" if floor else ""
        listeners = self.metrics[self.model_name]["listeners"]
        return f"NDCG@20 {ours:.4f} on the latest week{times} ({listeners} listeners)."

    @property
    def is_worse_than_popularity(self) -> bool:
        """Whether the model's NDCG is below popularity's, on at least `FEWEST_LISTENERS` listeners."""
        own, popularity = (self.metrics.get(name, {}) for name in (self.model_name, "popularity"))
        ours, floor = own.get("ndcg"), popularity.get("ndcg")
        return (
            ours is not None and floor is not None and ours < floor and own["listeners"] >= FEWEST_LISTENERS
        )


# Called with a stage's name, its number from 1, and the number of stages.
StageCallback = Callable[[str, int, int], None]


def ignore_stage(name: str, step: int, steps: int) -> None:
    """The callback of a caller who shows no progress."""


@dataclass(frozen=True)
class HoldoutWeek:
    past: TrainingData  # the data up to the start of the week
    rows: NDArray[np.int64]  # shape (n,), the listeners' rows in `past`, ascending
    profiles: Profiles  # the listeners' profiles from `past`, in the same order
    # Songs that the listeners first played in the week without a recommendation, shape (n, n_songs).
    test: csr_array
    start_seconds: float  # start of the week, in seconds since 1970


def evaluate_on_latest_week(
    data: TrainingData,
    configuration: dict[str, Any],
    seed: int,
    on_stage: Callable[[str], None],
    warm_start: WarmStart,
    *,
    processes: int = 1,
) -> TrainingEvaluation:
    """Train on all but the latest week, and compare with baselines and champion on it.

    The champion is compared only on days that it was not trained on.
    """
    week = latest_week(data, seed)
    if week is None:
        return TrainingEvaluation(content_features=warm_start.content_features)
    training = replace(
        week.past.to_training(seed=seed, configuration=configuration),
        warm_start=warm_start.carried_clusters, processes=processes,
    )  # fmt: skip
    with two_workers() as submit:
        # Only their lists are kept: RP3beta's weights of a large catalogue take 320 MB.
        baselines = submit([partial(_fit_and_recommend, kind, training, week) for kind in BASELINES])
        model, choice = _fit_on_past(training, week, warm_start)
        on_stage("measuring on the latest week")
        lists = {model.name: _recommend_in_batches(model, week)}
        lists |= {kind.name: of_kind for kind, of_kind in zip(BASELINES, baselines(), strict=True)}
    evaluations = _evaluate_each(week, lists)
    metrics: dict[str, dict[str, Any]] = {name: result.summary() for name, result in evaluations.items()}
    metrics["against_floor"] = difference_from_floor(model.name, evaluations)
    metrics["against_baselines"] = differences_from_baselines(model.name, evaluations)
    reference = warm_start.reference
    unseen = _without_seen_days(data, week, reference.cut_off_seconds) if reference else None
    if reference is not None and unseen is not None:
        metrics["against_champion"] = _compare_with_champion(unseen, model, reference)
    if isinstance(model, MixModel):
        features = warm_start.content_features or content_features_of(model)
        return TrainingEvaluation(metrics, model.weights, model.name, features, model.labels, choice)
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
    artists = week.past.catalogue.artist_codes()
    own_lists = model.recommend(week.profiles, LIST_LENGTH)
    champion_lists = _recommend_for_week(week, reference.model, reference.song_ids, CHAMPION_DRAW_SEED)
    own, champion = (
        evaluate_lists(lists, week.test, artists=artists).ndcg_each for lists in (own_lists, champion_lists)
    )
    return {"champion": reference.label, **paired_difference(own, champion)}


def fit_final_model(
    training: TrainingSet, evaluation: TrainingEvaluation, engine: Engine | None = None
) -> MixModel | ClassicModel:
    return _fit_classic_if_configured(training) or fit_with_weights(
        training, evaluation.weights, build_content=lambda: evaluation.content_features,
        start_labels=evaluation.labels, engine=engine,
    )  # fmt: skip


def _fit_classic_if_configured(training: TrainingSet) -> ClassicModel | None:
    if training.configuration["method"] != ModelVersion.Method.CLASSIC:
        return None
    n_clusters = training.configuration.get("n_clusters")
    return fit_classic(training, n_clusters=int(n_clusters) if n_clusters else None)


def _fit_and_recommend(kind: Baseline, training: TrainingSet, week: HoldoutWeek) -> NDArray[np.int32]:
    model = kind.fit(training)
    return np.concatenate([model.recommend(batch, LIST_LENGTH) for batch in _batches(week)])


def _recommend_in_batches(model: RecommenderModel, week: HoldoutWeek) -> NDArray[np.int32]:
    with two_workers() as submit:
        return np.concatenate(
            submit([partial(model.recommend, batch, LIST_LENGTH) for batch in _batches(week)])()
        )


def _batches(week: HoldoutWeek) -> list[Profiles]:
    size = max(1, CELLS_PER_BATCH // max(1, week.test.shape[1]))
    return [slice_profiles(week.profiles, start, start + size) for start in range(0, week.profiles.n, size)]


def _evaluate_each(week: HoldoutWeek, lists: Mapping[str, NDArray[np.int32]]) -> dict[str, Evaluation]:
    """Evaluate each model's lists, by the model's name."""
    artists = week.past.catalogue.artist_codes()
    return {name: evaluate_lists(of_model, week.test, artists=artists) for name, of_model in lists.items()}


def evaluate_with_baselines(
    week: HoldoutWeek, stored: StoredVersion, seed: int, begin: StageCallback = ignore_stage
) -> dict[str, dict[str, Any]]:
    """Metrics of the version and of the baselines, by model name.

    The version's lists have only songs that it was trained on. `begin` is called before each model.
    """
    steps = 1 + len(BASELINES)
    begin(stored.model.name, 1, steps)
    lists = _recommend_for_week(week, stored.model, stored.song_ids, seed)
    own = evaluate_lists(lists, week.test, artists=week.past.catalogue.artist_codes())
    training = week.past.to_training(seed=seed, configuration={})
    baselines = {}
    for step, kind in enumerate(BASELINES, 2):
        begin(kind.name, step, steps)
        baselines[kind.name] = _fit_and_recommend(kind, training, week)
    evaluations = _evaluate_each(week, baselines)
    return {stored.model.name: own.summary(), **{name: one.summary() for name, one in evaluations.items()}}


def compare_stored_versions(
    week: HoldoutWeek, first: StoredVersion, second: StoredVersion, seed: int
) -> dict[str, float | int]:
    """The first version's NDCG minus the second's, paired by listener."""
    artists = week.past.catalogue.artist_codes()
    ours, theirs = (
        evaluate_lists(
            _recommend_for_week(week, one.model, one.song_ids, seed), week.test, artists=artists
        ).ndcg_each
        for one in (first, second)
    )
    return paired_difference(ours, theirs)


def _recommend_for_week(
    week: HoldoutWeek, model: RecommenderModel, song_ids: NDArray[np.int64], seed: int
) -> NDArray[np.int32]:
    columns, known = find_columns(week.past.catalogue.ids, song_ids)
    # All ids are known, since songs are never deleted.
    columns = columns[known]
    profiles = week.profiles
    lists = model.recommend(
        replace(
            profiles,
            plays=profiles.plays[:, columns],
            recent=_select_columns(profiles.recent, columns),
            skips=_select_columns(profiles.skips, columns),
        ),
        LIST_LENGTH,
        seed=seed,
    )
    return np.where(lists >= 0, columns[lists], -1).astype(np.int32)


def _select_columns(matrix: csr_array | None, columns: NDArray[np.int64]) -> csr_array | None:
    return None if matrix is None else matrix[:, columns]


def latest_week(data: TrainingData, seed: int) -> HoldoutWeek | None:
    """Hold out the week before the newest play; None if no listener can be evaluated on it.

    A listener needs plays before the week and new songs in it. At most `MAX_LISTENERS` are drawn
    with `seed`, fewer for a large catalogue.
    """
    if not data.n_plays:
        return None
    start = float(data.plays.at.max()) - WEEK_SECONDS
    past = data.up_to(start)
    plays = past.plays.matrix()
    test = plays_of_new_songs(split_at(data.organic, start)[1].matrix(), plays)
    rows = np.flatnonzero((np.diff(plays.indptr) > 0) & (np.diff(test.indptr) > 0))
    most = max(1, min(MAX_LISTENERS, MAX_SCORED_CELLS // max(1, plays.shape[1])))
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    if not len(rows):
        return None
    return HoldoutWeek(past, rows, _build_profiles(past, plays, rows, start), test[rows], start)


def _build_profiles(past: TrainingData, plays: csr_array, rows: NDArray[np.int64], now: float) -> Profiles:
    return Profiles(
        plays[rows], weight_by_recency(past.plays, now)[rows], weight_by_recency(past.skips, now)[rows],
        [past.genres[row] for row in rows], past.listener_ids[rows],
    )  # fmt: skip
