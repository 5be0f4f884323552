"""How well models rank what listeners play next, measured on data sets of real listening.

A data set is a folder with train, valid and test.csv.gz (user, song, count and, if known, day: days since
1970 of the last play) and songs.csv.gz (song, name, artist, album, genres, release_year, duration; empty =
unknown). Settings are chosen on valid. Each model is then fitted on train + valid and evaluated once on test:
20 unplayed songs per listener.
"""

import csv
import gzip
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from benchmarks.memory import peak_memory
from benchmarks.report import Finding, Report
from recommender.engine.algorithms.base import slice_profiles
from recommender.engine.algorithms.baselines import EASE, ItemKNN, Popularity, Random, RP3beta
from recommender.engine.algorithms.classic import ClassicModel
from recommender.engine.algorithms.fit_classic import fit_classic
from recommender.engine.algorithms.item_similarity import MOST_EASE_SONGS
from recommender.engine.algorithms.listener_similarity import UserKNN
from recommender.engine.clustering.affinities import SECONDS_PER_DAY, recency_weights
from recommender.engine.data import (
    Catalogue,
    Interactions,
    Profiles,
    RecommenderModel,
    SongActivity,
    TrainingSet,
)
from recommender.engine.evaluation.evaluate import evaluate_lists
from recommender.engine.evaluation.metrics import ndcg
from recommender.engine.mix.fit import fit_mix
from recommender.engine.mix.model import MixModel
from recommender.engine.mix.tuning import split_tuning_plays, tuning_listeners
from recommender.engine.sampling.sampler import CandidatePool, draw_picks, scale_scores
from recommender.engine.song_activity import measure_song_activity

S = TypeVar("S")  # the settings of a model
M = TypeVar("M", bound=RecommenderModel)
LIST_LENGTH: Final = 20
UNDATED_COLUMNS: Final = 3  # user, song, count
CANDIDATES: Final = 400
CLASSIC_CLUSTERS: Final = (50, 200)
TEMPERATURES: Final = {"mix": 0.0, "mix_t01": 0.1, "mix_t02": 0.2}
BASELINES: Final = ("random", "popularity", "trending", "itemknn", "rp3beta", "userknn", "ease")
# `mix` without the times of plays, to show what they bring.
UNDATED_MIX: Final = "mix_undated"
DATED_ONLY: Final = ("trending", UNDATED_MIX)
TABLE_ORDER: Final = (*BASELINES, "classic", UNDATED_MIX, *TEMPERATURES)
GAIN_BY_TIMES: Final = 1.35
# k, shrink, logarithmic: each the best on one of two measured data sets.
KNN_SETTINGS: Final = ((50, 10.0, False), (200, 30.0, True))
RP3_BETAS: Final = (0.4, 0.2, 0.6)  # of equally good ones the first
BASELINE_TUNING_LISTENERS: Final = 2_000
TUNING_LISTENERS: Final = 1_000  # that choose between two settings


@dataclass(frozen=True)
class ListeningDataset:
    """A data set; matrices have shape (n_listeners, n_songs)."""

    catalogue: Catalogue
    train_plays: Interactions
    valid_plays: Interactions
    test: csr_array

    @cached_property
    def train(self) -> csr_array:
        return self.train_plays.matrix()

    @cached_property
    def valid(self) -> csr_array:
        return self.valid_plays.matrix()

    @cached_property
    def plays_before_test(self) -> Interactions:
        return _concatenate(self.train_plays, self.valid_plays)

    @cached_property
    def known_plays(self) -> csr_array:
        return self.plays_before_test.matrix()

    @property
    def is_dated(self) -> bool:
        return bool(self.train_plays.at.any())

    def without_times(self) -> "ListeningDataset":
        train, valid = (
            replace(plays, at=np.zeros_like(plays.at)) for plays in (self.train_plays, self.valid_plays)
        )
        return replace(self, train_plays=train, valid_plays=valid)

    @property
    def training(self) -> TrainingSet:
        """To fit on train, tune on valid and refit on both."""
        return TrainingSet(
            self.catalogue, self.train, tuning=self.valid, recent=_weigh_by_recency(self.train_plays),
            keys=np.arange(self.train.shape[0]),
            activity=_measure_activity(self.train_plays),
            latest_activity=_measure_activity(self.plays_before_test),
        )  # fmt: skip

    @property
    def test_profiles(self) -> Profiles:
        """The test listeners' plays before the test."""
        recent = _weigh_by_recency(self.plays_before_test)
        rows = self.test_listeners
        return Profiles(self.known_plays[rows], None if recent is None else recent[rows], keys=rows)

    @property
    def test_listeners(self) -> NDArray[np.int64]:
        """Listeners with plays before the test and in it."""
        return np.flatnonzero((np.diff(self.known_plays.indptr) > 0) & (np.diff(self.test.indptr) > 0))


@dataclass(frozen=True)
class ModelResult:
    """A model's lists by name, and what fitting it cost."""

    lists: dict[str, NDArray[np.int32]]
    seconds: float
    peak_memory: int


def read_dataset(folder: Path) -> ListeningDataset:
    """Read a folder.

    Raises:
        FileNotFoundError: a file is missing.
    """
    with gzip.open(folder / "songs.csv.gz", "rt", encoding="utf-8", newline="") as file:
        songs = list(csv.DictReader(file))
    parts = [_read_plays(folder / f"{part}.csv.gz") for part in ("train", "valid", "test")]
    n_listeners = 1 + max(int(part[:, 0].max(initial=-1)) for part in parts)
    train, valid, test = (_as_interactions(part, n_listeners, len(songs)) for part in parts)
    return ListeningDataset(_build_catalogue(songs), train, valid, test.matrix())


def measure(folder: Path, dump: Path | None) -> Report:
    """Evaluate every model on a data set; `dump`: where to write the lists."""
    listening = read_dataset(folder)
    listeners = listening.test_listeners
    report = Report({"data": folder.name, "songs": listening.catalogue.n_songs, "listeners": len(listeners)})
    lists: dict[str, NDArray[np.int32]] = {}
    rows: dict[str, dict[str, Any]] = {}
    for name in MODELS:
        if name in DATED_ONLY and not listening.is_dated:
            continue
        if name == "ease" and listening.catalogue.n_songs > MOST_EASE_SONGS:
            report.notes.append(f"Skipped: EASE takes at most {MOST_EASE_SONGS} songs.")
            continue
        sys.stderr.write(f"quality: {name} ...\n")
        outcome = _run_in_process(name, folder)
        for list_name, model_lists in outcome.lists.items():
            lists[list_name] = model_lists
            rows[list_name] = {"seconds": outcome.seconds, "peak": outcome.peak_memory} | _evaluate_lists(
                listening, model_lists
            )
    report.notes[:0] = [format_table(rows)]
    report.findings += build_findings(rows, folder.name)
    if dump is not None:
        arrays: dict[str, Any] = {"listeners": listeners, **lists}
        np.savez_compressed(dump, **arrays)
        report.notes.append(f"Lists written to {dump}")
    return report


def format_table(rows: dict[str, dict[str, Any]]) -> str:
    """One line per model."""
    heads = ("NDCG@20", "recall", "coverage", "diversity", "fit s", "peak MB")
    lines = ["".join([f"{'model':12}", *(f"{head:>11}" for head in heads)])]
    for name in (name for name in TABLE_ORDER if name in rows):
        row = rows[name]
        cells = [f"{row[key]:11.4f}" for key in ("ndcg", "recall", "coverage", "diversity")]
        lines.append("".join([f"{name:12}", *cells, f"{row['seconds']:11.1f}", f"{row['peak'] / 1e6:11.0f}"]))
    return "\n".join(lines)


def build_findings(rows: dict[str, dict[str, Any]], name: str) -> list[Finding]:
    """`mix` compared with the best baseline, and its coverage with that of EASE."""
    best = max((one for one in BASELINES if one in rows), key=lambda one: float(rows[one]["ndcg"]))
    found = [
        _ratio_finding(f"{name}: {mix} / {best}, NDCG@20", rows[mix]["ndcg"], rows[best]["ndcg"], 1.0)
        for mix in TEMPERATURES
    ]
    if UNDATED_MIX in rows:
        ours, undated = rows["mix"]["ndcg"], rows[UNDATED_MIX]["ndcg"]
        found.append(
            _ratio_finding(f"{name}: mix / mix without times, NDCG@20", ours, undated, GAIN_BY_TIMES)
        )
    if "ease" in rows:
        ours, ease = rows["mix_t01"]["coverage"], rows["ease"]["coverage"]
        found.append(_ratio_finding(f"{name}: mix_t01 / ease, coverage", ours, ease, 1.2))
    return found


def _ratio_finding(measure: str, ours: float, peer: float, target: float) -> Finding:
    ratio = ours / peer if peer else float("inf")
    return Finding(measure, f"{ours:.4f}", f"{peer:.4f}", f"{ratio:.3f}", ratio, target, at_most=False)


def _evaluate_lists(listening: ListeningDataset, lists: NDArray[np.int32]) -> dict[str, Any]:
    test = listening.test[listening.test_listeners]
    return evaluate_lists(lists, test, artists=listening.catalogue.artist_codes()).summary()


def _run_in_process(name: str, folder: Path) -> ModelResult:
    """Evaluate each model in a separate process, because peak memory counts all earlier work."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_fit_and_recommend, (name, folder))


def _fit_and_recommend(name: str, folder: Path) -> ModelResult:
    listening = read_dataset(folder)
    if name == UNDATED_MIX:
        listening = listening.without_times()
    before = time.perf_counter()
    model = MODELS[name](listening)
    seconds = time.perf_counter() - before
    peak = peak_memory()
    profiles = listening.test_profiles
    if name == "mix":
        return ModelResult(draw_mix_lists(model, profiles), seconds, peak)
    return ModelResult({name: model.recommend(profiles, LIST_LENGTH)}, seconds, peak)


def draw_mix_lists(model: MixModel, profiles: Profiles) -> dict[str, NDArray[np.int32]]:
    """Lists drawn at each temperature from the same candidates."""
    candidates = model.recommend(profiles, CANDIDATES)
    lists = {name: np.full((profiles.n, LIST_LENGTH), -1, dtype=np.int32) for name in TEMPERATURES}
    size = max(1, 4_000_000 // max(1, model.n_songs))
    for start in range(0, profiles.n, size):
        block = slice_profiles(profiles, start, start + size)
        scores, shares = model.scores(block), model.affinities(block)
        for row in range(block.n):
            songs = candidates[start + row]
            songs = songs[songs >= 0]
            pool = CandidatePool(
                songs.astype(np.int64), scale_scores(scores[row, songs]), model.labels[songs],
                np.arange(len(songs)), shares[row].astype(np.float64),
            )  # fmt: skip
            for name, temperature in TEMPERATURES.items():
                seed = f"{name}:{start + row}"
                picks = draw_picks(pool, n=LIST_LENGTH, temperature=temperature, seed=seed, artist_cap=None)
                lists[name][start + row, : len(picks)] = songs[[pick.index for pick in picks]]
    return lists


def fit_best_classic(listening: ListeningDataset) -> ClassicModel:
    """`classic` with the number of clusters that ranks valid better."""
    rows = np.flatnonzero((np.diff(listening.train.indptr) > 0) & (np.diff(listening.valid.indptr) > 0))
    rows = rows[:: max(1, len(rows) // TUNING_LISTENERS)]
    early = TrainingSet(listening.catalogue, listening.train)

    def value(n_clusters: int) -> float:
        model = fit_classic(early, n_clusters=n_clusters)
        lists = model.recommend(Profiles(listening.train[rows]), LIST_LENGTH)
        return float(np.nanmean(ndcg(lists, listening.valid[rows])))

    return fit_classic(listening.training, n_clusters=max(CLASSIC_CLUSTERS, key=value))


def fit_best_knn(training: TrainingSet) -> ItemKNN:
    """ItemKNN with the settings that rank held-out plays better, fitted on all plays."""

    def fit(training: TrainingSet, settings: tuple[int, float, bool]) -> ItemKNN:
        k, shrink, logarithmic = settings
        return ItemKNN.fit(training, k=k, shrink=shrink, logarithmic=logarithmic)

    return _fit_best(training, KNN_SETTINGS, fit)


def fit_best_rp3beta(training: TrainingSet) -> RP3beta:
    """RP3beta with the damping of popular songs that ranks held-out plays best, fitted on all plays."""
    return _fit_best(training, RP3_BETAS, lambda training, beta: RP3beta.fit(training, beta=beta))


def _fit_best(training: TrainingSet, settings: Sequence[S], fit: Callable[[TrainingSet, S], M]) -> M:
    """The model with the settings that rank held-out plays best, fitted on all plays."""
    plays, tuning = split_tuning_plays(training)
    rows = tuning_listeners(plays, tuning, most=BASELINE_TUNING_LISTENERS, seed=training.seed)
    early = replace(training, plays=plays, tuning=None)
    whole = replace(training, plays=csr_array(plays + tuning), tuning=None)

    def value(one: S) -> float:
        lists = fit(early, one).recommend(Profiles(plays[rows], keys=rows), LIST_LENGTH)
        return float(ndcg(lists, tuning[rows]).mean())

    return fit(whole, max(settings, key=value) if len(rows) else settings[0])


def _fit_random(listening: ListeningDataset) -> RecommenderModel:
    return Random.fit(listening.training)


def _fit_popularity(listening: ListeningDataset) -> RecommenderModel:
    return Popularity.fit(listening.training)


def _fit_itemknn(listening: ListeningDataset) -> RecommenderModel:
    return fit_best_knn(listening.training)


def _fit_rp3beta(listening: ListeningDataset) -> RecommenderModel:
    return fit_best_rp3beta(listening.training)


def _fit_userknn(listening: ListeningDataset) -> RecommenderModel:
    return UserKNN.fit(listening.training)


def _fit_trending(listening: ListeningDataset) -> RecommenderModel:
    """A chart in which a listener counts half 90 days after the last play."""
    activity = listening.training.latest_activity
    model = Popularity.fit(listening.training)
    if activity is not None:
        model.listeners = activity.listeners_this_quarter
    return model


def _fit_ease(listening: ListeningDataset) -> RecommenderModel:
    return EASE.fit(listening.training)


def _fit_mix(listening: ListeningDataset) -> RecommenderModel:
    return fit_mix(listening.training)


MODELS: Final[dict[str, Callable[[ListeningDataset], Any]]] = {
    "random": _fit_random, "popularity": _fit_popularity, "trending": _fit_trending, "itemknn": _fit_itemknn,
    "rp3beta": _fit_rp3beta, "userknn": _fit_userknn, "ease": _fit_ease, "classic": fit_best_classic,
    UNDATED_MIX: _fit_mix, "mix": _fit_mix,
}  # fmt: skip


def _read_plays(path: Path) -> NDArray[np.float64]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        width = len(next(rows))
        found = [[float(cell) for cell in row] for row in rows]
    table = np.array(found, dtype=np.float64).reshape(-1, width)
    return table if width > UNDATED_COLUMNS else np.hstack([table, np.zeros((len(table), 1))])


def _as_interactions(table: NDArray[np.float64], n_listeners: int, n_songs: int) -> Interactions:
    users, songs, counts, days = table.T
    return Interactions(
        n_listeners, n_songs, users.astype(np.int32), songs.astype(np.int32), days * SECONDS_PER_DAY,
        counts.astype(np.float32),
    )  # fmt: skip


def _concatenate(one: Interactions, other: Interactions) -> Interactions:
    return Interactions(
        one.n_listeners, one.n_songs,
        np.concatenate([one.listeners, other.listeners]), np.concatenate([one.songs, other.songs]),
        np.concatenate([one.at, other.at]), np.concatenate([one.count, other.count]),
    )  # fmt: skip


def _measure_activity(plays: Interactions) -> SongActivity | None:
    return measure_song_activity(plays, float(plays.at.max(initial=0.0)))


def _weigh_by_recency(plays: Interactions) -> csr_array | None:
    """Plays weighted by their age at the newest play; None if they have no times."""
    if not plays.at.any():
        return None
    return plays.matrix(recency_weights(plays.at, float(plays.at.max())))


def _build_catalogue(songs: list[dict[str, str]]) -> Catalogue:
    def number(column: str) -> NDArray[np.float64]:
        return np.array([float(song.get(column) or "nan") for song in songs])

    def text(column: str) -> list[str]:
        return [song.get(column) or "" for song in songs]

    return Catalogue(
        ids=np.arange(len(songs), dtype=np.int64), artists=text("artist"), albums=text("album"),
        songwriters=[""] * len(songs), genres=text("genres"), release_years=number("release_year"),
        durations=number("duration"), audio={}, available=np.ones(len(songs), dtype=np.bool_),
    )  # fmt: skip
