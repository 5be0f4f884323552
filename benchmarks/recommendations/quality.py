"""How well models rank what listeners play next, measured on data sets of real listening.

A data set is a folder with train, valid and test.csv.gz (user, song, count and, if known, day: days since
1970 of the last play) and songs.csv.gz (song, name, artist, album, genres, release_year, duration; empty =
unknown). Settings are chosen on valid. Each model is then fitted on train + valid and evaluated once on test:
20 unplayed songs per listener. Three more measurements follow:

- new songs: the plays of a tenth of the songs are taken away; how many of these songs lists then show, and
  what their places cost
- change: the share of songs that differ between two lists of a listener drawn one after the other
- a week: the share of all songs that are in a list of anyone, if 1 000 listeners get a list a day for a week
  and leave all of them alone, compared with EASE, whose lists stay the same; on dated sets with the chart
- repeats: NDCG@20 of songs heard before, ranked by how likely they are played again, if test has such plays
"""

import multiprocessing
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from benchmarks.memory import peak_memory
from benchmarks.recommendations.listening_data import ListeningDataset, has_content, no_songs, read_dataset
from benchmarks.report import Finding, Report
from recommender.engine.algorithms.base import slice_profiles
from recommender.engine.algorithms.baselines import EASE, ItemKNN, Popularity, Random, RP3beta
from recommender.engine.algorithms.classic import ClassicModel
from recommender.engine.algorithms.favourites import favourite_scores, rank_favourites
from recommender.engine.algorithms.fit_classic import fit_classic
from recommender.engine.algorithms.item_similarity import MOST_EASE_SONGS
from recommender.engine.algorithms.listener_similarity import UserKNN
from recommender.engine.data import (
    NewSongRanker,
    NewSongs,
    Profiles,
    RecommenderModel,
    ScoredSongs,
    TrainingSet,
)
from recommender.engine.evaluation.evaluate import evaluate_lists
from recommender.engine.evaluation.metrics import ndcg
from recommender.engine.mix.fit import fit_mix
from recommender.engine.mix.model import MixModel, OnlineMixModel
from recommender.engine.mix.tuning import split_tuning_plays, tuning_listeners
from recommender.engine.sampling.impressions import lower_shown, sum_impressions
from recommender.engine.sampling.sampler import MOST_NEW_OFFERS, CandidatePool, draw_picks, scale_scores

S = TypeVar("S")  # the settings of a model
M = TypeVar("M", bound=RecommenderModel)
LIST_LENGTH: Final = 20
CANDIDATES: Final = 400
RANKED_ON_THEIR_OWN: Final = 100  # a new song among so many best candidates needs no reserved place
CHANGE_LISTENERS: Final = 1_000  # whose lists are drawn twice, and for a week
WEEK: Final = 7
WEEK_COVERAGE: Final = 1.2
EMPTYING_SEED: Final = 7
NEW_SONGS_SHOWN: Final = 150 / 389  # of the songs without plays
NEW_SONGS_NDCG: Final = 0.997
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
class ModelResult:
    """A model's lists by name, and what fitting it cost."""

    lists: dict[str, NDArray[np.int32]]
    seconds: float
    peak_memory: int
    # By name, the share of songs by which two lists drawn one after the other differ; 0 without a draw.
    change: dict[str, float] = field(default_factory=dict)
    # The share of all songs that the first CHANGE_LISTENERS get in a week of daily lists.
    week: float = 0.0


@dataclass(frozen=True)
class NewSongResult:
    """Lists of a model that never saw a play of some songs."""

    new: int  # how many songs lost their plays
    shown: int  # how many of them are in at least one list
    ndcg_with: float  # of lists with places for new songs
    ndcg_without: float


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
            rows[list_name] = {
                "seconds": outcome.seconds, "peak": outcome.peak_memory,
                "change": outcome.change.get(list_name, 0.0), "week": outcome.week,
                **_evaluate_lists(listening, model_lists),
            }  # fmt: skip
    report.notes[:0] = [format_table(rows)]
    report.findings += build_findings(rows, folder.name)
    _add_new_songs(report, folder, listening)
    _add_repeats(report, folder, listening)
    if dump is not None:
        arrays: dict[str, Any] = {"listeners": listeners, **lists}
        np.savez_compressed(dump, **arrays)
        report.notes.append(f"Lists written to {dump}")
    return report


def format_table(rows: dict[str, dict[str, Any]]) -> str:
    """A table with one line per model."""
    heads = ("NDCG@20", "recall", "coverage", "in a week", "diversity", "change", "fit s", "peak MB")
    lines = ["".join([f"{'model':12}", *(f"{head:>11}" for head in heads)])]
    for name in (name for name in TABLE_ORDER if name in rows):
        row = rows[name]
        cells = [f"{row[key]:11.4f}" for key in ("ndcg", "recall", "coverage", "week", "diversity", "change")]
        lines.append("".join([f"{name:12}", *cells, f"{row['seconds']:11.1f}", f"{row['peak'] / 1e6:11.0f}"]))
    return "\n".join(lines)


def build_findings(rows: dict[str, dict[str, Any]], name: str) -> list[Finding]:
    """`mix` compared with the best baseline, and the songs it shows in a week with those of one baseline."""
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
    # The ranking of a dated set follows what is played lately, so that only the chart is comparable.
    compared = "trending" if "trending" in rows else "ease"
    if compared in rows:
        ours, theirs = rows["mix_t01"]["week"], rows[compared]["week"]
        measure = f"{name}: mix_t01 / {compared}, songs shown in a week"
        found.append(_ratio_finding(measure, ours, theirs, WEEK_COVERAGE))
    return found


def _add_new_songs(report: Report, folder: Path, listening: ListeningDataset) -> None:
    if not has_content(listening.catalogue):
        report.notes.append("New songs: not measured, because the songs have no artists, genres or albums.")
        return
    sys.stderr.write("quality: new songs ...\n")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        result = pool.apply(measure_new_songs, (folder,))
    share = result.shown / max(1, result.new)
    report.findings += [
        Finding(
            f"{folder.name}: new songs shown / all without plays", str(result.shown), str(result.new),
            f"{share:.3f}", share, NEW_SONGS_SHOWN, at_most=False,
        ),
        _ratio_finding(
            f"{folder.name}: NDCG@20 with / without places for them", result.ndcg_with, result.ndcg_without,
            NEW_SONGS_NDCG,
        ),
    ]  # fmt: skip


def _add_repeats(report: Report, folder: Path, listening: ListeningDataset) -> None:
    """NDCG of the songs heard before, ranked by strength, compared with their own counts."""
    rows = np.flatnonzero(np.diff(listening.repeats.indptr))
    if not len(rows):
        report.notes.append("Repeats: not measured, because no test play is of a song heard before.")
        return
    plays = listening.plays_before_test
    ours, counts = (
        float(np.nanmean(ndcg(rank_favourites(scores[rows], LIST_LENGTH), listening.repeats[rows])))
        for scores in (favourite_scores(plays, float(plays.at.max())), listening.known_plays)
    )
    report.findings.append(
        _ratio_finding(f"{folder.name}: repeats, strength / plays, NDCG@20", ours, counts, 1.0)
    )


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
        lists = draw_mix_lists(model, profiles, TEMPERATURES)
        first = slice_profiles(profiles, 0, CHANGE_LISTENERS)
        again = draw_mix_lists(model, first, TEMPERATURES, seed="again")
        change = {one: share_changed(lists[one][: first.n], again[one]) for one in TEMPERATURES}
        return ModelResult(lists, seconds, peak, change, share_shown(draw_week(model, first), model.n_songs))
    found = model.recommend(profiles, LIST_LENGTH)
    week = share_shown([found[:CHANGE_LISTENERS]], listening.catalogue.n_songs)
    return ModelResult({name: found}, seconds, peak, week=week)


def share_shown(lists: Sequence[NDArray[np.int32]], n_songs: int) -> float:
    shown = np.unique(np.concatenate([one.ravel() for one in lists]))
    return float(np.count_nonzero(shown >= 0) / n_songs)


def draw_week(model: MixModel, profiles: Profiles) -> list[NDArray[np.int32]]:
    """A list a day at the default temperature; each day's lists remember those of the days before."""
    days: list[NDArray[np.int32]] = []
    default = {"lists": TEMPERATURES["mix_t01"]}
    for day in range(WEEK):
        impressions = [
            sum_impressions((day - at, lists[row].tolist()) for at, lists in enumerate(days))
            for row in range(profiles.n)
        ]
        days.append(
            draw_mix_lists(model, profiles, default, seed=f"day {day} ", impressions=impressions)["lists"]
        )
    return days


def share_changed(first: NDArray[np.int32], second: NDArray[np.int32]) -> float:
    """The share of songs of the second lists that are not in the first ones."""
    shared = [len(set(one.tolist()) & set(two.tolist())) for one, two in zip(first, second, strict=True)]
    return 1 - sum(shared) / max(1, second.size)


def measure_new_songs(folder: Path) -> NewSongResult:
    """Lists at the default temperature after the plays of a tenth of the songs were taken away."""
    listening, emptied = read_dataset(folder).without_plays_of_some_songs(seed=EMPTYING_SEED)
    model = fit_mix(listening.training)
    profiles, test = listening.test_profiles, listening.test[listening.test_listeners]
    default = {"lists": TEMPERATURES["mix_t01"]}
    shown, without = (
        draw_mix_lists(model, profiles, default, new_places=places)["lists"] for places in (1, 0)
    )
    return NewSongResult(
        len(emptied),
        len(np.intersect1d(shown, emptied)),
        float(np.nanmean(ndcg(shown, test))),
        float(np.nanmean(ndcg(without, test))),
    )


def draw_mix_lists(
    model: MixModel,
    profiles: Profiles,
    temperatures: Mapping[str, float],
    *,
    new_places: int = 1,
    seed: str = "",
    impressions: Sequence[Mapping[int, float]] | None = None,
) -> dict[str, NDArray[np.int32]]:
    """Lists drawn at each temperature from the same candidates, with places for new songs like in serving."""
    candidates = model.recommend(profiles, CANDIDATES)
    ranker = OnlineMixModel(model).new_song_ranker
    new = ranker.place(no_songs(), np.empty(0, dtype=np.int32)) if new_places else None
    lists = {name: np.full((profiles.n, LIST_LENGTH), -1, dtype=np.int32) for name in temperatures}
    size = max(1, 4_000_000 // max(1, model.n_songs))
    for start in range(0, profiles.n, size):
        block = slice_profiles(profiles, start, start + size)
        scores, shares = model.scores(block), model.affinities(block)
        for row in range(block.n):
            songs = candidates[start + row]
            known = songs[songs >= 0]
            values = scale_scores(scores[row, known])
            explored = _best_new_songs(ranker, new, slice_profiles(block, row, row + 1), known)
            left = ~np.isin(known, explored.songs)
            songs = np.concatenate([known[left], explored.songs])
            shown = impressions[start + row] if impressions else {}
            lowered = [
                lower_shown(part_values.astype(np.float64), part.astype(np.int64), shown)
                for part_values, part in ((values[left], known[left]), (explored.scores, explored.songs))
            ]
            pool = CandidatePool(
                songs.astype(np.int64), np.concatenate(lowered), model.labels[songs],
                np.arange(len(songs)), shares[row].astype(np.float64),
                new_songs=np.arange(len(songs)) >= left.sum(), new_places=new_places,
            )  # fmt: skip
            for name, temperature in temperatures.items():
                picks = draw_picks(
                    pool,
                    n=LIST_LENGTH,
                    temperature=temperature,
                    seed=f"{seed}{name}:{start + row}",
                    artist_cap=None,
                )
                lists[name][start + row, : len(picks)] = songs[[pick.index for pick in picks]]
    return lists


def _best_new_songs(
    ranker: NewSongRanker, new: NewSongs | None, profile: Profiles, known: NDArray[np.int32]
) -> ScoredSongs:
    """The best new songs for one listener, without those among the best candidates."""
    if new is None or not len(new.columns):
        return ScoredSongs(np.empty(0, dtype=np.int32), np.empty(0, dtype=np.float32))
    allowed = ~np.isin(new.columns, np.concatenate([profile.plays.indices, known[:RANKED_ON_THEIR_OWN]]))
    values = ranker.rank(profile, new, allowed[np.newaxis])[0]
    best = np.argsort(-values, kind="stable")[:MOST_NEW_OFFERS]
    best = best[np.isfinite(values[best])]
    return ScoredSongs(new.columns[best], values[best])


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
