"""Lists of other libraries on the same plays: quality, lists per second of one core, fitting time, memory.

- als: implicit's ALS. Factors of listeners and songs are fitted together, and an index of nearest neighbours
  (hnswlib) answers the 20 best unplayed songs of a listener's stored factors.
- als, new plays: the same, but the listener's factors are computed from today's plays, as `mix` does.
- lenskit: LensKit's pipeline with its item-based nearest neighbours.
- mix: our ranking, which scores each listener's plays of this moment.

Needs the extra `peers`, in an environment of its own. A library that is missing is skipped.
"""

import multiprocessing
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

from benchmarks.memory import peak_memory
from benchmarks.recommendations.listening_data import ListeningDataset, read_dataset
from benchmarks.report import Finding, Report
from recommender.engine.algorithms.base import slice_profiles
from recommender.engine.evaluation.evaluate import evaluate_lists
from recommender.engine.evaluation.metrics import ndcg
from recommender.engine.mix.fit import fit_mix
from recommender.engine.mix.model import OnlineMixModel

LIST_LENGTH: Final = 20
# Number of factors, weight of a play, and whether a song played often weighs more; the setting that ranks the
# validation plays best is used.
ALS_SETTINGS: Final = tuple(product((64, 128, 256), (1.0, 10.0), (False, True)))
ALS_ITERATIONS: Final = 15
INDEX_SAMPLE: Final = 500  # listeners for whom the index is compared with an exact search
LISTED_FIRST: Final = 20  # listeners asked before the clock starts
NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "mix": (),
    "als": ("implicit", "hnswlib"),
    "als, new plays": ("implicit", "hnswlib"),
    "lenskit": ("lenskit",),
}

# From a test listener's row to the 20 best unplayed songs, best first; missing ones are -1.
AskOne = Callable[[int], NDArray[np.int32]]


@dataclass(frozen=True)
class PeerResult:
    lists: NDArray[np.int32]
    fit_cpu: float
    lists_per_second: float
    peak_memory: int
    note: str = ""


def measure(folder: Path) -> Report:
    """Compare `mix` with other libraries on a data set in the form of the benchmark `quality`."""
    listening = read_dataset(folder)
    test = listening.test[listening.test_listeners]
    artists = listening.catalogue.artist_codes()
    report = Report({"data": folder.name, "songs": listening.catalogue.n_songs, "listeners": test.shape[0]})
    rows: dict[str, dict[str, Any]] = {}
    for name, needed in NEEDED.items():
        if missing := [one for one in needed if find_spec(one) is None]:
            report.notes.append(f"Skipped {name}: install {', '.join(missing)} (the extra `peers`).")
            continue
        sys.stderr.write(f"peers: {name} ...\n")
        # In a process of its own, because peak memory counts all earlier work.
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            result = pool.apply(_fit_and_ask, (name, folder))
        rows[name] = {
            **evaluate_lists(result.lists, test, artists=artists).summary(),
            "lists": result.lists_per_second, "fit": result.fit_cpu, "peak": result.peak_memory / 1e6,
        }  # fmt: skip
        if result.note:
            report.notes.append(f"{name}: {result.note}")
    report.notes.insert(0, _format_table(rows))
    ours = rows.pop("mix")["ndcg"]
    report.findings += [
        Finding(
            f"{folder.name}: mix / {name}, NDCG@20", f"{ours:.4f}", f"{row['ndcg']:.4f}",
            f"{ours / row['ndcg']:.3f}", ours / row["ndcg"], 1.0, at_most=False,
        )
        for name, row in rows.items()
    ]  # fmt: skip
    return report


def _format_table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    heads = ("NDCG@20", "recall", "coverage", "lists/s", "fit CPU s", "peak MB")
    lines = ["".join([f"{'model':16}", *(f"{head:>11}" for head in heads)])]
    for name, row in rows.items():
        shares = [f"{row[key]:11.4f}" for key in ("ndcg", "recall", "coverage")]
        figures = [f"{row['lists']:11.0f}", f"{row['fit']:11.1f}", f"{row['peak']:11.0f}"]
        lines.append("".join([f"{name:16}", *shares, *figures]))
    return "\n".join(lines)


def _fit_and_ask(name: str, folder: Path) -> PeerResult:
    listening = read_dataset(folder)
    before = time.process_time()
    ask, note = FITS[name](listening)
    fit_cpu = time.process_time() - before
    listeners = len(listening.test_listeners)
    with threadpool_limits(1):
        for row in range(min(LISTED_FIRST, listeners)):
            ask(row)
        begun = time.process_time()
        lists = np.array([ask(row) for row in range(listeners)], dtype=np.int32)
        seconds = time.process_time() - begun
    return PeerResult(lists, fit_cpu, listeners / seconds, peak_memory(), note)


def _fit_mix(listening: ListeningDataset) -> tuple[AskOne, str]:
    model, profiles = OnlineMixModel(fit_mix(listening.training)), listening.test_profiles

    def ask(row: int) -> NDArray[np.int32]:
        return _padded(model.candidates(slice_profiles(profiles, row, row + 1), n=LIST_LENGTH).songs)

    return ask, ""


def _fit_als(listening: ListeningDataset) -> tuple[AskOne, str]:
    plays, rows, setting, model = _best_als(listening)
    index, known = _build_index(model.item_factors), np.diff(plays.indptr)

    def ask(row: int) -> NDArray[np.int32]:
        listener = rows[row]
        return _unplayed(index, model.user_factors[listener], plays, listener, int(known[listener]))

    sample = range(min(INDEX_SAMPLE, len(rows)))
    same = [np.isin(_exact_best(model, plays, rows[row]), ask(row)).mean() for row in sample]
    return ask, f"{setting}; the index finds {np.mean(same):.1%} of the {LIST_LENGTH} best songs."


def _fit_als_for_new_plays(listening: ListeningDataset) -> tuple[AskOne, str]:
    plays, rows, setting, model = _best_als(listening)
    index, known = _build_index(model.item_factors), np.diff(plays.indptr)

    def ask(row: int) -> NDArray[np.int32]:
        listener = rows[row]
        factors = model.recalculate_user(listener, plays[[listener]])
        return _unplayed(index, np.asarray(factors), plays, listener, int(known[listener]))

    return ask, f"{setting}."


def _best_als(listening: ListeningDataset) -> tuple[Any, NDArray[np.int64], str, Any]:
    """All known plays, the test listeners' rows, the chosen setting in words, and the fitted model."""
    rows = np.flatnonzero((np.diff(listening.train.indptr) > 0) & (np.diff(listening.valid.indptr) > 0))

    def value(setting: tuple[int, float, bool]) -> float:
        factors, weight, counts = setting
        early = _als_plays(listening.train, counts=counts)
        ids, _ = _als(early, factors, weight).recommend(rows, early[rows], N=LIST_LENGTH)
        return float(np.nanmean(ndcg(np.asarray(ids, dtype=np.int32), listening.valid[rows])))

    factors, weight, counts = max(ALS_SETTINGS, key=value)
    plays = _als_plays(listening.known_plays, counts=counts)
    played = "the logarithm of a song's plays" if counts else "a played song"
    words = f"{factors} factors, {played} weighs {weight:g}"
    return plays, listening.test_listeners, words, _als(plays, factors, weight)


def _als_plays(plays: csr_array, *, counts: bool) -> Any:
    from scipy.sparse import csr_matrix  # noqa: PLC0415 - implicit accepts only scipy's older type

    weighed = csr_matrix(plays, dtype=np.float32, copy=True)
    weighed.data = np.log1p(weighed.data) if counts else np.ones_like(weighed.data)
    return weighed


def _als(plays: Any, factors: int, weight: float) -> Any:
    from implicit.als import AlternatingLeastSquares  # noqa: PLC0415 - only in the extra `peers`

    # As implicit recommends: BLAS threads would compete with its own.
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(
            factors=factors, alpha=weight, iterations=ALS_ITERATIONS, random_state=7, use_gpu=False
        )
        model.fit(plays, show_progress=False)
    return model


def _build_index(factors: NDArray[np.float32]) -> Any:
    import hnswlib  # noqa: PLC0415 - only in the extra `peers`

    index = hnswlib.Index(space="ip", dim=factors.shape[1])
    index.init_index(max_elements=len(factors), ef_construction=200, M=32, random_seed=7)
    index.add_items(factors)
    index.set_num_threads(1)
    return index


def _unplayed(
    index: Any, factors: NDArray[np.float32], plays: csr_array, listener: int, n_known: int
) -> NDArray[np.int32]:
    wanted = min(LIST_LENGTH + n_known, index.get_current_count())
    index.set_ef(max(4 * wanted, 400))
    found, _ = index.knn_query(factors.reshape(1, -1), k=wanted)
    known = plays.indices[plays.indptr[listener] : plays.indptr[listener + 1]]
    songs = found[0][~np.isin(found[0], known)][:LIST_LENGTH]
    return _padded(songs.astype(np.int32))


def _exact_best(model: Any, plays: csr_array, listener: int) -> NDArray[np.int32]:
    scores = model.item_factors @ model.user_factors[listener]
    scores[plays.indices[plays.indptr[listener] : plays.indptr[listener + 1]]] = -np.inf
    return np.argsort(-scores, kind="stable")[:LIST_LENGTH].astype(np.int32)


def _fit_lenskit(listening: ListeningDataset) -> tuple[AskOne, str]:
    import pandas as pd  # noqa: PLC0415 - only with the extra `peers`
    from lenskit import recommend, topn_pipeline  # noqa: PLC0415
    from lenskit.data import from_interactions_df  # noqa: PLC0415
    from lenskit.knn import ItemKNNScorer  # noqa: PLC0415

    plays = listening.known_plays.tocoo()
    frame = pd.DataFrame({"user_id": plays.coords[0], "item_id": plays.coords[1]})
    pipeline = topn_pipeline(ItemKNNScorer(max_nbrs=50, feedback="implicit"), n=LIST_LENGTH)
    pipeline.train(from_interactions_df(frame))
    rows = listening.test_listeners

    def ask(row: int) -> NDArray[np.int32]:
        return _padded(np.asarray(recommend(pipeline, int(rows[row]), LIST_LENGTH).ids(), dtype=np.int32))

    return ask, "ItemKNN, 50 neighbours."


def _padded(songs: NDArray[np.int32]) -> NDArray[np.int32]:
    padded = np.full(LIST_LENGTH, -1, dtype=np.int32)
    padded[: len(songs[:LIST_LENGTH])] = songs[:LIST_LENGTH]
    return padded


FITS: Final[Mapping[str, Callable[[ListeningDataset], tuple[AskOne, str]]]] = {
    "mix": _fit_mix,
    "als": _fit_als,
    "als, new plays": _fit_als_for_new_plays,
    "lenskit": _fit_lenskit,
}
