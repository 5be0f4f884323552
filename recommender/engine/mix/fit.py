"""Learn a `mix`: its parts from the plays, its weights from plays held out."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.engine.algorithms.base import all_plays
from recommender.engine.clustering.kmeans import default_n_clusters, fit_clusters
from recommender.engine.clustering.n_clusters import ClusterCountChoice, HoldoutPlays, choose_n_clusters
from recommender.engine.data import Profiles, TrainingSet
from recommender.engine.mix.components import MixComponents
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

# Weights before any tuning: the recipe's, the terms of this blend that share a source sharing its weight.
START_WEIGHTS = {
    "ease": 0.5, "ease_weighted": 0.5, "rp3": 0.4, "rp3_weighted": 0.2, "rp3_root": 0.2, "knn": 0.3,
    "taste": 0.3, "taste_short": 0.2, "hybrid_low": 0.5, "hybrid": 0.5, "artist": 0.5, "affinity": 0.2,
    "popularity": 0.1, "genre": 0.5,
}  # fmt: skip
TUNING_LISTENERS = 4_000  # measured: with 2 000 the choice of them moves the test NDCG by 1 %
TUNING_LISTENERS_OF_MANY_SONGS = 1_500  # each takes 4 ms where songs are many
FEWEST_LISTENERS = 30  # with fewer, tuned weights follow chance: the starting weights stay

ContentBuilder = Callable[[], ContentFeatures | None]


def no_builder() -> None:
    """No ground is laid yet."""


def fit_mix(
    training: TrainingSet, *, refit: bool = True, build_content: ContentBuilder = no_builder
) -> MixModel:
    """Tune the weights on the held-out plays, then learn from all plays with them.

    The held-out plays are `training.tuning`, or a seeded tenth of `plays`. With fewer than 30 listeners that
    have plays on both sides the weights are START. `training.configuration` may set `n_clusters`.

    Args:
        refit: False leaves out the second learning: for a model that is only measured, a little too modestly.
        lay: asked for the ground while the other lane learns from the plays; None from it: it is laid here.
    """
    plays, tuning = split_tuning_plays(training)
    most = TUNING_LISTENERS if plays.shape[1] <= MOST_BATCH_SONGS else TUNING_LISTENERS_OF_MANY_SONGS
    rows = tuning_listeners(plays, tuning, most=most, seed=training.seed)
    if len(rows) < FEWEST_LISTENERS:
        return fit_with_weights(training, start_weights(), build_content=build_content)
    known = replace(training, plays=plays, tuning=None)
    model = _fit_untuned(known, build_content)
    weights = tune_mix_weights(model, known, tuning, rows)
    if not refit:
        return replace(model, weights=weights)
    # The groups of nine tenths of the plays are those of all: found once, for they take half of the time.
    return _fit_on_all_plays(training, weights, lambda: content_features_of(model), labels=model.labels)


def fit_with_weights(
    training: TrainingSet,
    weights: NDArray[np.float64] | None,
    *,
    build_content: ContentBuilder = no_builder,
    start_labels: NDArray[np.int32] | None = None,
) -> MixModel:
    """Learn from all plays, those held out too, with weights tuned before; None: as `fit_mix`.

    Args:
        lay: brings the ground, such as `ground_under` a model of the same catalogue: it is not found again.
        start: that model's labels, from which the groups of many songs are moved on.
    """
    if weights is None:
        return fit_mix(training, build_content=build_content)
    return _fit_on_all_plays(training, weights, build_content, start_labels=start_labels)


def content_features_of(model: MixModel) -> ContentFeatures:
    """What the model knows of the songs whoever plays them."""
    parts = model.components
    return ContentFeatures(parts.content, parts.artists, model.words, parts.genres, parts.available)


def _fit_on_all_plays(
    training: TrainingSet,
    weights: NDArray[np.float64],
    build_content: ContentBuilder,
    *,
    labels: NDArray[np.int32] | None = None,
    start_labels: NDArray[np.int32] | None = None,
) -> MixModel:
    whole = replace(training, plays=all_plays(training), tuning=None)
    return replace(
        _fit_untuned(whole, build_content, labels=labels, start_labels=start_labels), weights=weights
    )


def start_weights() -> NDArray[np.float64]:
    return np.array([START_WEIGHTS[name] for name in TERM_NAMES])


def _fit_untuned(
    training: TrainingSet,
    build_content: ContentBuilder,
    *,
    labels: NDArray[np.int32] | None = None,
    start_labels: NDArray[np.int32] | None = None,
) -> MixModel:
    seed, n_clusters = training.seed, training.configuration.get("n_clusters")
    with two_workers() as begin:
        listening = submit_listening_features(training.plays, begin, seed=seed)
        ground = build_content() or build_content_features(training.catalogue, seed=seed)
        parts = assemble_components(
            listening, ground, labels=labels, start_labels=start_labels, warm_start=training.warm_start,
            n_clusters=int(n_clusters) if n_clusters else None, seed=seed,
        )  # fmt: skip
    return MixModel(parts, start_weights(), ground.words, _genre_means(parts))


def with_clusters(model: MixModel, labels: NDArray[np.int32], n_clusters: int | None = None) -> MixModel:
    """The same model with its songs in other groups; None: of which there are as many."""
    parts = replace_clusters(model.components, labels, n_clusters or model.components.n_clusters)
    return replace(model, components=parts, genre_means=_genre_means(parts))


def with_chosen_n_clusters(
    model: MixModel, profiles: Profiles, played_after: csr_array, *, seed: int
) -> tuple[MixModel, ClusterCountChoice]:
    """The same model with as many groups of songs as make what was played later likeliest.

    Args:
        model: with any number of groups; it may not have learnt from what was played later.
        known: of some listeners, what was known of them up to then.
        played: shape (known.n, n_songs), songs that they played later and not before.
    """
    points = clustering_points(model.components.content, model.components.company)
    recent = profiles.plays if profiles.recent is None else profiles.recent
    later = HoldoutPlays(recent, profiles.plays, played_after, model.components.listeners, profiles.skips)
    choice = choose_n_clusters(points, later, default=default_n_clusters(len(points)), seed=seed)
    if choice.n_clusters == model.components.n_clusters:
        return model, choice
    found = fit_clusters(points, n_clusters=choice.n_clusters, seed=seed)
    return with_clusters(model, found.labels, found.n_clusters), choice


def _genre_means(components: MixComponents) -> NDArray[np.float32]:
    """Shape (n_words, n_clusters): share of each group's songs that have the word."""
    members = np.bincount(components.labels, minlength=components.n_clusters)
    one_hot = csr_array(
        (np.ones(components.n_songs, np.float32), (np.arange(components.n_songs), components.labels)),
        shape=(components.n_songs, components.n_clusters),
    )
    return np.asarray((components.genres.T @ one_hot).toarray() / np.maximum(members, 1), dtype=np.float32)


def tune_mix_weights(
    model: MixModel, training: TrainingSet, tuning: csr_array, rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The best weights for the listeners of `rows`, whose plays in `tuning` were held out."""
    pool = build_pool(model.components, model.weights, model.listener_features, training, tuning, rows)
    alone = [np.array([float(name == only) for name in TERM_NAMES]) for only in ("rp3", "ease")]
    return tune_weights(pool, [start_weights(), *alone])
