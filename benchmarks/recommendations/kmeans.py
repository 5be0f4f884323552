"""Compare our K-means with scikit-learn's. Usage: python -m benchmarks.recommendations.kmeans [POINTS]."""

import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray
from sklearn.cluster import KMeans, MiniBatchKMeans
from threadpoolctl import threadpool_limits

from recommender.engine.clustering.kmeans import fit_clusters

SEEDS: Final = (1, 2, 3)
FULL_STEPS: Final = 50


def measure(n: int = 1_000_000, d: int = 32, k: int = 100) -> dict[str, float]:
    """Median seconds and inertia of our K-means, MiniBatchKMeans and KMeans, one thread each."""
    points = make_overlapping_groups(n, d, groups=3 * k)
    names = ("seconds", "inertia", "minibatch_seconds", "minibatch_inertia", "full_seconds", "full_inertia")
    figures: dict[str, list[float]] = {name: [] for name in names}
    for seed in SEEDS:
        with threadpool_limits(1):
            _time_fit(figures, "", lambda: fit_clusters(points, n_clusters=k, seed=seed))  # noqa: B023
            _time_fit(
                figures,
                "minibatch_",
                lambda: MiniBatchKMeans(k, random_state=seed, n_init=1).fit(points),  # noqa: B023
            )
            if seed == SEEDS[0]:
                full = KMeans(k, random_state=seed, n_init=1, max_iter=FULL_STEPS)
                _time_fit(figures, "full_", lambda: full.fit(points))  # noqa: B023
    return {name: median(values) for name, values in figures.items()}


def make_overlapping_groups(n: int, d: int, groups: int) -> NDArray[np.float32]:
    """Points whose deviation from their center is nearly the distance between centers."""
    draws = np.random.default_rng(7)
    centres = draws.normal(0, 1, (groups, d))
    return (centres[draws.integers(groups, size=n)] + draws.normal(0, 0.8, (n, d))).astype(np.float32)


def _time_fit(figures: dict[str, list[float]], name: str, fit: Callable[[], Any]) -> None:
    before = time.perf_counter()
    fitted = fit()
    figures[f"{name}seconds"].append(time.perf_counter() - before)
    figures[f"{name}inertia"].append(float(getattr(fitted, "inertia_", None) or fitted.inertia))


if __name__ == "__main__":
    sys.stdout.buffer.write(orjson.dumps(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)))
