"""Time the scoring of single listeners, on one thread, with data made in memory.

Usage: python -m benchmarks.recommendations.online_scoring SONGS LISTENERS PLAYS.
"""

import sys
import time

import numpy as np
import orjson
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

from recommender.engine.data import Catalogue, Profiles, TrainingSet
from recommender.engine.mix.fit import fit_with_weights, start_weights
from recommender.engine.mix.model import MixModel, OnlineMixModel
from recommender.serving.list_limits import MAX_CANDIDATES

STYLES = 200
MEASURED_LISTENERS = 300


def main(songs: int, listeners: int, plays: int) -> None:
    training = make_training_data(songs, listeners, plays)
    model = fit_with_weights(training, start_weights())
    # Like in a web worker: views of plain arrays.
    online = OnlineMixModel(MixModel.from_parts(model.arrays(), model.facts()))
    rows = np.random.default_rng(1).choice(listeners, min(MEASURED_LISTENERS, listeners), replace=False)
    asked = [Profiles(training.plays[[row]], genres=["style 1"]) for row in rows]
    with threadpool_limits(1):
        for profile in asked[:20]:
            online.candidates(profile, n=MAX_CANDIDATES)
        times = np.sort([_time_scoring(online, profile) for profile in asked])
    figures = {"p50": float(np.median(times)), "p99": float(np.quantile(times, 0.99)), "songs": songs}
    sys.stdout.buffer.write(orjson.dumps(figures))


def make_training_data(songs: int, listeners: int, plays: int) -> TrainingSet:
    """Listeners with four styles each; songs are played by a power law within a style."""
    draws = np.random.default_rng(7)
    styles = np.sort(draws.integers(STYLES, size=songs))
    starts = np.searchsorted(styles, np.arange(STYLES + 1))
    liked = draws.integers(STYLES, size=(listeners, 4))
    rows = np.repeat(np.arange(listeners), plays // listeners)
    style = liked[rows, draws.integers(4, size=len(rows))]
    places = draws.power(0.4, len(rows)) * (starts[style + 1] - starts[style])
    columns = np.minimum(starts[style] + places.astype(np.int64), songs - 1)
    matrix = csr_array((np.ones(len(rows), np.float32), (rows, columns)), shape=(listeners, songs))
    matrix.sum_duplicates()
    catalogue = Catalogue(
        ids=np.arange(songs), artists=[f"Artist {place // 12}" for place in range(songs)],
        albums=[""] * songs, songwriters=[""] * songs,
        genres=[f"style {one}, family {one % 20}" for one in styles.tolist()],
        release_years=np.full(songs, np.nan), durations=np.full(songs, 200.0), audio={},
        available=np.ones(songs, dtype=np.bool_),
    )  # fmt: skip
    return TrainingSet(catalogue, matrix)


def _time_scoring(model: OnlineMixModel, profile: Profiles) -> float:
    before = time.perf_counter()
    model.candidates(profile, n=MAX_CANDIDATES)
    return time.perf_counter() - before


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
