"""Fits `mix`: components from plays, term weights from held-out plays."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.engine.algorithms.base import all_plays, slice_profiles
from recommender.engine.algorithms.engines import Engine, LocalEngine, neighbours_by
from recommender.engine.algorithms.listener_similarity import ListenerNeighbourhood
from recommender.engine.clustering.affinities import genre_shares_by_cluster
from recommender.engine.clustering.kmeans import default_n_clusters, fit_clusters
from recommender.engine.clustering.n_clusters import ClusterCountChoice, DrawQuality, choose_n_clusters
from recommender.engine.data import Profiles, TrainingSet
from recommender.engine.evaluation.metrics import LIST_LENGTH, coverage, ndcg
from recommender.engine.mix.components import MixComponents
from recommender.engine.mix.drawn_lists import draw_lists
from recommender.engine.mix.fit_components import (
    ContentFeatures,
    assemble_components,
    build_content_features,
    clustering_points,
    replace_clusters,
    submit_listening_features,
)
from recommender.engine.mix.model import MixModel
from recommender.engine.mix.terms import TERM_NAMES
from recommender.engine.mix.tuning import (
    MOST_BATCH_SONGS,
    build_pool,
    split_tuning_plays,
    tune_weights,
    tuning_listeners,
)
from recommender.engine.parallel import two_workers

# Weights before tuning. Terms from the same similarities or features share the weight of their source.
START_WEIGHTS = {
    "ease": 0.5, "ease_weighted": 0.5, "rp3": 0.4, "rp3_weighted": 0.2, "rp3_root": 0.2, "knn": 0.3,
    "taste": 0.3, "taste_short": 0.2, "hybrid_low": 0.5, "hybrid": 0.5, "artist": 0.5, "affinity": 0.2,
    "popularity": 0.1, "genre": 0.5, "trend": 0.1, "trend_month": 0.0, "age": 0.0,
    "user_knn": 0.2, "album": 0.2,
}  # fmt: skip
TUNING_LISTENERS = 4_000  # measured: with 2 000 the sample changes the test NDCG by 1 %
TUNING_LISTENERS_OF_MANY_SONGS = 1_500  # above MOST_BATCH_SONGS each listener takes 4 ms
DRAW_CELLS = 40_000_000  # scores in memory while they are compared: 160 MB
DRAW_LISTENERS = 600  # listeners that numbers of clusters are compared on; drawing a list takes 1 ms
FEWEST_LISTENERS = 30  # with fewer listeners tuned weights are noise, so the start weights stay

ContentBuilder = Callable[[], ContentFeatures | None]


def no_builder() -> None:
    """Build nothing, so that the fit builds the content features itself."""


def fit_mix(
    training: TrainingSet,
    *,
    refit: bool = True,
    build_content: ContentBuilder = no_builder,
    engine: Engine | None = None,
) -> MixModel:
    """Tune the weights on held-out plays, then fit again on all plays.

    Args:
        refit: False skips the second fit, for a model that is only evaluated.
        build_content: called while another thread computes features from plays.
        engine: computes the neighbours from all plays; None: this machine.
    """
    plays, tuning = split_tuning_plays(training)
    most = TUNING_LISTENERS if plays.shape[1] <= MOST_BATCH_SONGS else TUNING_LISTENERS_OF_MANY_SONGS
    rows = tuning_listeners(plays, tuning, most=most, seed=training.seed)
    if len(rows) < FEWEST_LISTENERS:
        return fit_with_weights(training, start_weights(), build_content=build_content, engine=engine)
    without_tuning = replace(training, plays=plays, tuning=None)
    model = _fit_with_start_weights(without_tuning, build_content)
    weights = tune_mix_weights(model, without_tuning, tuning, rows)
    if not refit:
        latest = training.latest_activity or training.activity
        return replace(model, weights=weights, components=replace(model.components, activity=latest))
    # Clustering takes half of the time, so the clusters from nine tenths of the plays are kept.
    return _fit_on_all_plays(
        training, weights, lambda: content_features_of(model), labels=model.labels, engine=engine
    )


def fit_with_weights(
    training: TrainingSet,
    weights: NDArray[np.float64] | None,
    *,
    build_content: ContentBuilder = no_builder,
    start_labels: NDArray[np.int32] | None = None,
    engine: Engine | None = None,
) -> MixModel:
    """Fit on all plays; without weights, tune them first.

    Args:
        start_labels: see `fit_clusters`.
        engine: computes the neighbours; None: this machine.
    """
    if weights is None:
        return fit_mix(training, build_content=build_content, engine=engine)
    return _fit_on_all_plays(training, weights, build_content, start_labels=start_labels, engine=engine)


def content_features_of(model: MixModel) -> ContentFeatures:
    components = model.components
    return ContentFeatures(
        components.content, components.artists, model.words, components.genres, components.available,
        components.albums,
    )  # fmt: skip


def _fit_on_all_plays(
    training: TrainingSet,
    weights: NDArray[np.float64],
    build_content: ContentBuilder,
    *,
    labels: NDArray[np.int32] | None = None,
    start_labels: NDArray[np.int32] | None = None,
    engine: Engine | None,
) -> MixModel:
    whole = replace(
        training,
        plays=all_plays(training),
        tuning=None,
        activity=training.latest_activity or training.activity,
    )
    model = _fit_with_start_weights(
        whole, build_content, labels=labels, start_labels=start_labels, engine=engine
    )
    return replace(model, weights=weights)


def start_weights() -> NDArray[np.float64]:
    return np.array([START_WEIGHTS[name] for name in TERM_NAMES])


def _fit_with_start_weights(
    training: TrainingSet,
    build_content: ContentBuilder,
    *,
    labels: NDArray[np.int32] | None = None,
    start_labels: NDArray[np.int32] | None = None,
    engine: Engine | None = None,
) -> MixModel:
    engine = engine or LocalEngine(training.processes)
    seed, n_clusters = training.seed, training.configuration.get("n_clusters")
    with two_workers() as submit, neighbours_by(engine) as begin_neighbours:
        listening = submit_listening_features(training.plays, submit, begin_neighbours, seed=seed)
        content = build_content() or build_content_features(training.catalogue, seed=seed)
        components = assemble_components(
            listening, content, labels=labels, start_labels=start_labels, warm_start=training.warm_start,
            n_clusters=int(n_clusters) if n_clusters else None, activity=training.activity,
            neighbourhood=ListenerNeighbourhood.fit(training.plays, training.keys, seed=seed), seed=seed,
        )  # fmt: skip
    return MixModel(components, start_weights(), content.words, _genre_means(components))


def with_clusters(model: MixModel, labels: NDArray[np.int32], n_clusters: int | None = None) -> MixModel:
    components = replace_clusters(model.components, labels, n_clusters or model.components.n_clusters)
    return replace(model, components=components, genre_means=_genre_means(components))


def with_chosen_n_clusters(
    model: MixModel, profiles: Profiles, played_after: csr_array, *, seed: int
) -> tuple[MixModel, ClusterCountChoice]:
    """A copy of the model with the number of clusters from `choose_n_clusters`, and the choice.

    Args:
        model: must not be trained on `played_after`.
        profiles: histories until the split time.
    """
    points = clustering_points(model.components.content, model.components.company)
    size = max(FEWEST_LISTENERS, min(DRAW_LISTENERS, DRAW_CELLS // max(1, model.n_songs)))
    asked = slice_profiles(profiles, 0, size)

    def evaluate_draw(labels: NDArray[np.int32], n_clusters: int) -> DrawQuality:
        candidate = with_clusters(model, labels, n_clusters)
        lists = draw_lists(
            candidate.scores(asked), asked, model.components.available, labels=labels,
            affinities=candidate.affinities(asked), artists=model.components.artists,
            n=LIST_LENGTH, seed=seed,
        )  # fmt: skip
        return DrawQuality(ndcg(lists, played_after[:size]), coverage(lists, model.n_songs))

    choice = choose_n_clusters(
        points, evaluate_draw, listeners=asked.n, default=default_n_clusters(len(points)), seed=seed
    )
    if choice.n_clusters == model.components.n_clusters:
        return model, choice
    clusters = fit_clusters(points, n_clusters=choice.n_clusters, seed=seed)
    return with_clusters(model, clusters.labels, clusters.n_clusters), choice


def _genre_means(components: MixComponents) -> NDArray[np.float32]:
    return genre_shares_by_cluster(components.genres, components.labels, components.n_clusters)


def tune_mix_weights(
    model: MixModel, training: TrainingSet, tuning: csr_array, rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    pool = build_pool(model.components, model.weights, model.listener_features, training, tuning, rows)
    single_terms = [np.array([float(name == only) for name in TERM_NAMES]) for only in ("rp3", "ease")]
    return tune_weights(pool, [start_weights(), *single_terms])
