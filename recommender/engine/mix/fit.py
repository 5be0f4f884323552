"""Learn a `mix`: its parts from the plays, its weights from plays held out."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.engine.algorithms.base import everything
from recommender.engine.clustering.kmeans import default_n_clusters, fit_clusters
from recommender.engine.clustering.n_clusters import Choice, Later, choose_k
from recommender.engine.data import Profiles, Training
from recommender.engine.mix.components import Parts
from recommender.engine.mix.fit_components import (
    Ground,
    begin_listening,
    fit_parts,
    ground_of,
    grouped_anew,
    points_of,
)
from recommender.engine.mix.model import Mix
from recommender.engine.mix.terms import NAMES
from recommender.engine.mix.tuning import DENSE_SONGS, pool_of, split, tune, tuning_listeners
from recommender.engine.parallel import two_lanes

# Weights before any tuning: the recipe's, the terms of this blend that share a source sharing its weight.
START = {
    "ease": 0.5, "ease_weighted": 0.5, "rp3": 0.4, "rp3_weighted": 0.2, "rp3_root": 0.2, "knn": 0.3,
    "taste": 0.3, "taste_short": 0.2, "hybrid_low": 0.5, "hybrid": 0.5, "artist": 0.5, "affinity": 0.2,
    "popularity": 0.1, "genre": 0.5,
}  # fmt: skip
TUNING_LISTENERS = 4_000  # measured: with 2 000 the choice of them moves the test NDCG by 1 %
TUNING_LISTENERS_OF_MANY = 1_500  # each takes 4 ms where songs are many
FEWEST_LISTENERS = 30  # with fewer, tuned weights follow chance: the starting weights stay

Lay = Callable[[], Ground | None]


def unlaid() -> None:
    """No ground is laid yet."""


def fit_mix(training: Training, *, refit: bool = True, lay: Lay = unlaid) -> Mix:
    """Tune the weights on the held-out plays, then learn from all plays with them.

    The held-out plays are `training.tuning`, or a seeded tenth of `plays`. With fewer than 30 listeners that
    have plays on both sides the weights are START. `training.configuration` may set `n_clusters`.

    Args:
        refit: False leaves out the second learning: for a model that is only measured, a little too modestly.
        lay: asked for the ground while the other lane learns from the plays; None from it: it is laid here.
    """
    plays, tuning = split(training)
    most = TUNING_LISTENERS if plays.shape[1] <= DENSE_SONGS else TUNING_LISTENERS_OF_MANY
    rows = tuning_listeners(plays, tuning, most=most, seed=training.seed)
    if len(rows) < FEWEST_LISTENERS:
        return learn(training, start_weights(), lay=lay)
    known = replace(training, plays=plays, tuning=None)
    model = _untuned(known, lay)
    weights = tuned_weights(model, known, tuning, rows)
    if not refit:
        return replace(model, weights=weights)
    # The groups of nine tenths of the plays are those of all: found once, for they take half of the time.
    return _learnt(training, weights, lambda: ground_under(model), labels=model.labels)


def learn(
    training: Training,
    weights: NDArray[np.float64] | None,
    *,
    lay: Lay = unlaid,
    start: NDArray[np.int32] | None = None,
) -> Mix:
    """Learn from all plays, those held out too, with weights tuned before; None: as `fit_mix`.

    Args:
        lay: brings the ground, such as `ground_under` a model of the same catalogue: it is not found again.
        start: that model's labels, from which the groups of many songs are moved on.
    """
    if weights is None:
        return fit_mix(training, lay=lay)
    return _learnt(training, weights, lay, start=start)


def ground_under(model: Mix) -> Ground:
    """What the model knows of the songs whoever plays them."""
    parts = model.parts
    return Ground(parts.content, parts.artists, model.words, parts.genres, parts.available)


def _learnt(
    training: Training,
    weights: NDArray[np.float64],
    lay: Lay,
    *,
    labels: NDArray[np.int32] | None = None,
    start: NDArray[np.int32] | None = None,
) -> Mix:
    whole = replace(training, plays=everything(training), tuning=None)
    return replace(_untuned(whole, lay, labels=labels, start=start), weights=weights)


def start_weights() -> NDArray[np.float64]:
    return np.array([START[name] for name in NAMES])


def _untuned(
    training: Training,
    lay: Lay,
    *,
    labels: NDArray[np.int32] | None = None,
    start: NDArray[np.int32] | None = None,
) -> Mix:
    seed, n_clusters = training.seed, training.configuration.get("n_clusters")
    with two_lanes() as begin:
        listening = begin_listening(training.plays, begin, seed=seed)
        ground = lay() or ground_of(training.catalogue, seed=seed)
        parts = fit_parts(
            listening, ground, labels=labels, start=start, carried=training.carried,
            n_clusters=int(n_clusters) if n_clusters else None, seed=seed,
        )  # fmt: skip
    return Mix(parts, start_weights(), ground.words, _genre_means(parts))


def regrouped(model: Mix, labels: NDArray[np.int32], n_clusters: int | None = None) -> Mix:
    """The same model with its songs in other groups; None: of which there are as many."""
    parts = grouped_anew(model.parts, labels, n_clusters or model.parts.n_clusters)
    return replace(model, parts=parts, genre_means=_genre_means(parts))


def with_chosen_k(model: Mix, known: Profiles, played: csr_array, *, seed: int) -> tuple[Mix, Choice]:
    """The same model with as many groups of songs as make what was played later likeliest.

    Args:
        model: with any number of groups; it may not have learnt from what was played later.
        known: of some listeners, what was known of them up to then.
        played: shape (known.n, n_songs), songs that they played later and not before.
    """
    points = points_of(model.parts.content, model.parts.company)
    recent = known.plays if known.recent is None else known.recent
    later = Later(recent, known.plays, played, model.parts.listeners, known.skips)
    choice = choose_k(points, later, default=default_n_clusters(len(points)), seed=seed)
    if choice.n_clusters == model.parts.n_clusters:
        return model, choice
    found = fit_clusters(points, n_clusters=choice.n_clusters, seed=seed)
    return regrouped(model, found.labels, found.n_clusters), choice


def _genre_means(parts: Parts) -> NDArray[np.float32]:
    """Shape (n_words, n_clusters): share of each group's songs that have the word."""
    members = np.bincount(parts.labels, minlength=parts.n_clusters)
    one_hot = csr_array(
        (np.ones(parts.n_songs, np.float32), (np.arange(parts.n_songs), parts.labels)),
        shape=(parts.n_songs, parts.n_clusters),
    )
    return np.asarray((parts.genres.T @ one_hot).toarray() / np.maximum(members, 1), dtype=np.float32)


def tuned_weights(
    model: Mix, training: Training, tuning: csr_array, rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The best weights for the listeners of `rows`, whose plays in `tuning` were held out."""
    pool = pool_of(model.parts, model.weights, model.known, training, tuning, rows)
    alone = [np.array([float(name == only) for name in NAMES]) for only in ("rp3", "ease")]
    return tune(pool, [start_weights(), *alone])
