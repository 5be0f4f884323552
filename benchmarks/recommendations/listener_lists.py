"""Train on a data set, serve lists as to its listeners, and check them against the tables.

Usage: python -m benchmarks.recommendations.listener_lists demo|FOLDER LISTENERS MAX_LISTENERS. Prints
JSON. The checks read the tables and not the model, except for the share that a cluster has of a listener's
plays.
"""

import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Any, Final

import django
import orjson

django.setup()

from django.db.models import Count

from benchmarks.populate.listening_dataset import fill_dataset, fill_demo
from ingestion.models import Listener, ListeningHistory, Song
from recommender.engine.identity.credits import ArtistCredits, artist_key, possible_artists
from recommender.engine.identity.genres import genre_keys
from recommender.engine.identity.name_words import NameWords
from recommender.engine.identity.recordings import recording_key
from recommender.engine.identity.text import fold_key
from recommender.engine.mix.new_songs import FEWEST_LISTENERS
from recommender.models import Cluster, ServedList, TrainingRun
from recommender.models.naming import read_genre_names
from recommender.retraining import retrain_now
from recommender.services import current_model, serving_options
from recommender.serving import recommendations
from recommender.serving.list_limits import ARTIST_CAP, LIST_LENGTH
from recommender.serving.reasons.explanations import serialize_list

DISCOVERIES: Final = (0.0, 0.3, 0.7, 0.9, 1.0)
DAYS: Final = 7  # consecutive daily lists, all ignored by the listener
REPEATED: Final = (0.0, 0.3)
TIMED_LISTS: Final = 5
# Of a song by a new artist and a played song whose artist its reason names, unless they share a genre.
COMMON_LISTENERS: Final = 3


class Library:
    """The songs of the tables, with their genres, artists and recordings."""

    def __init__(self) -> None:
        names, rows = read_genre_names(), list(Song.objects.values("pk", "name", "artist", "album", "genres"))
        split = ArtistCredits([row["artist"] for row in rows])
        self.artists = {row["pk"]: set(split.keys(row["artist"])) for row in rows}
        self.credits = {row["pk"]: row["artist"] for row in rows}
        self.genre_texts = {row["pk"]: names.normalise(row["genres"]) for row in rows}
        self.genres = {song: set(genre_keys(text)) for song, text in self.genre_texts.items()}
        heard = ListeningHistory.objects.values_list("user", "items")
        pairs = {(user, song) for user, items in heard for song in items}
        self.listeners_of: defaultdict[int, set[int]] = defaultdict(set)
        for user, song in pairs:
            self.listeners_of[song].add(user)
        self.recordings = {
            row["pk"]: recording_key(row["name"], artist_key(split.lead(row["artist"])), row["album"])
            or str(row["pk"])
            for row in rows
        }


class Checker:
    """Checks one listener's lists."""

    def __init__(self, library: Library, listener: int, now: datetime) -> None:
        sessions = ListeningHistory.objects.filter(user=listener).values_list("items", "created_at")
        self.last_played = {
            song: at for items, at in sorted(sessions, key=lambda one: one[1]) for song in items
        }
        self.library = library
        self.heard = [song for song in self.last_played if song in library.genres]
        self.artists = {key for song in self.heard for key in library.artists[song]}
        self.genres = {key for song in self.heard for key in library.genres[song]}
        self.recordings = {library.recordings[song] for song in self.heard}
        self.favourites = set(
            genre_keys(read_genre_names().normalise(Listener.objects.get(pk=listener).favorite_genres))
        )
        self.now = now

    def problem(self, item: dict[str, Any]) -> str:
        """What is untrue of the item's reason; '' if it holds."""
        if "new to you" in item["reason"] and item["familiar"]:
            return "new and familiar"
        for pattern, check in self.checks:
            if found := re.fullmatch(pattern, item["reason"]):
                return check(item, *found.groups())
        return "unknown reason"

    @property
    def checks(self) -> tuple[tuple[str, Callable[..., str]], ...]:
        return (
            (r"From (.+): (\d+|< 1) % of .+", self._check_cluster),
            (r"Because you play (.+)", self._check_artists),
            (r"You have not heard it since (\w+).*", self._check_month),
            (r"You last heard it on \d+ (\w+)", self._check_month),
            (r"(?:Popular|New) in (.+), one of your favourite genres", self._check_favourite),
            (r"Popular with all listeners", lambda item: ""),
            (r"Something different to try.*", self._check_different),
            (r"By an artist you play: hardly anyone has played it yet", self._check_new_by_artist),
            (r"Hardly anyone has played it yet", self._check_new),
        )

    def _check_cluster(self, item: dict[str, Any], name: str, percent: str) -> str:
        if not name_parts(name) & self.library.genres[item["song"]] & self.genres:
            return "no shared genre"
        return "" if percent == f"{100 * item['affinity']:.0f}" else "another share"

    def _check_artists(self, item: dict[str, Any], artists: str) -> str:
        named = set(possible_artists(artists))
        played = [one for one in self.heard if named & set(possible_artists(self.library.credits[one]))]
        if not played or item["familiar"]:
            return "" if played else "artist not played"
        return "" if any(self._is_near(item["song"], one) for one in played) else "artist not near the song"

    def _is_near(self, song: int, played: int) -> bool:
        """Whether the songs share a genre, a word of one such as "metal", or several listeners."""
        texts = self.library.genre_texts
        share_genre = NameWords().share_genre(texts[song], texts[played])
        share_listeners = self.library.listeners_of[song] & self.library.listeners_of[played]
        return share_genre or len(share_listeners) >= COMMON_LISTENERS

    def _check_month(self, item: dict[str, Any], month: str) -> str:
        at = self.last_played.get(item["song"])
        return "" if at is not None and month == f"{at:%B}" else "another month"

    def _check_favourite(self, item: dict[str, Any], genre: str) -> str:
        shared = self.library.genres[item["song"]] & self.favourites
        return "" if fold_key(genre) in shared else "no favourite genre"

    def _check_new(self, item: dict[str, Any]) -> str:
        return "" if len(self.library.listeners_of[item["song"]]) < FEWEST_LISTENERS else "not new"

    def _check_new_by_artist(self, item: dict[str, Any]) -> str:
        is_played = bool(self.library.artists[item["song"]] & self.artists)
        return self._check_new(item) if is_played else "artist not played"

    def _check_different(self, item: dict[str, Any]) -> str:
        is_played = bool(self.library.artists[item["song"]] & self.artists)
        return "familiar" if item["familiar"] or is_played else ""

    def cap_breaches(self, songs: Sequence[int]) -> int:
        """Songs beyond the cap of an artist, lead or credited."""
        counts = Counter(key for song in songs for key in self.library.artists[song])
        return sum(count - ARTIST_CAP for count in counts.values() if count > ARTIST_CAP)

    def dial_error(self, given: float, asked: float, songs: int) -> float:
        """How far the share of new artists is from the requested one, as far as the catalogue allows it.

        A list can't have more songs of played artists than there are unheard ones within the artists' cap.
        """
        if given <= asked:
            return asked - given
        reachable = 1 - min(songs, self.unheard_of_played_artists) / max(1, songs)
        return max(0.0, given - max(asked, reachable))

    @cached_property
    def unheard_of_played_artists(self) -> int:
        counts: Counter[str] = Counter()
        recordings, found = set(self.recordings), 0
        for song, artists in self.library.artists.items():
            recording = self.library.recordings[song]
            is_unheard = artists & self.artists and recording not in recordings
            if is_unheard and all(counts[key] < ARTIST_CAP for key in artists):
                counts.update(artists)
                recordings.add(recording)
                found += 1
        return found

    def copies(self, items: Sequence[dict[str, Any]]) -> int:
        """Songs that are copies of another one of the list, or of one heard."""
        counts = Counter(self.library.recordings[item["song"]] for item in items)
        heard = sum(
            self.library.recordings[item["song"]] in self.recordings
            for item in items
            if item["song"] not in self.last_played
        )
        return heard + sum(count - 1 for count in counts.values())


def name_parts(name: str) -> set[str]:
    return {fold_key(part) for chunk in name.split(", ") for part in chunk.split(" and ")}


def measure(now: datetime, n_listeners: int) -> dict[str, Any]:
    library = Library()
    by_plays = ListeningHistory.objects.values("user").annotate(n=Count("pk")).order_by("-n", "user")
    listeners = [row["user"] for row in by_plays]
    chosen = listeners[:: max(1, len(listeners) // n_listeners)][:n_listeners]
    totals: Counter[str] = Counter()
    problems: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    given: dict[float, list[float]] = defaultdict(list)
    missed: dict[float, list[float]] = defaultdict(list)
    repeated: dict[float, list[float]] = defaultdict(list)
    for listener in chosen:
        checker = Checker(library, listener, now)
        for discovery in DISCOVERIES:
            days = DAYS if discovery in REPEATED else 1
            lists = [_serve(listener, discovery, now + timedelta(days=day)) for day in range(days)]
            first = lists[0].items
            told = serialize_list(lists[0])["discovery"]
            given[discovery].append(told["given"])
            missed[discovery].append(checker.dial_error(told["given"], discovery, len(first)))
            repeated[discovery] += [
                len(song_ids(one) & song_ids(other)) / LIST_LENGTH for one, other in pairwise(lists)
            ]
            totals.update(
                lists=1, items=len(first), short=len(first) < LIST_LENGTH,
                breaches=checker.cap_breaches([item["song"] for item in first]),
                copies=checker.copies(first),
            )  # fmt: skip
            for item in first:
                problem = checker.problem(item)
                problems[problem] += bool(problem)
                kinds[kind_of(item["reason"])] += 1
    names = [row for row in Cluster.objects.filter(version=_champion()) if row.size]
    return {
        "listeners": len(chosen),
        **totals,
        "problems": {name: count for name, count in problems.items() if count},
        "reasons": dict(kinds),
        "names": dict(Counter(row.facts.get("name_kind", "?") for row in names)),
        "longest_name": max((len(row.name) for row in names), default=0),
        "examples": [row.shown_name for row in names],
        "families": sorted({row.facts["family"]["name"] for row in names}),
        "given": {f"{discovery:g}": median(shares) for discovery, shares in given.items()},
        "missed": {f"{discovery:g}": median(shares) for discovery, shares in missed.items()},
        "repeated": {f"{one:g}": fmean(shares) for one, shares in repeated.items() if shares},
        "heaviest_seconds": _time_heaviest(listeners[0], now),
        "heaviest_sessions": by_plays[0]["n"],
    }


def song_ids(served: ServedList) -> set[int]:
    return {item["song"] for item in served.items}


def kind_of(reason: str) -> str:
    return next(
        (
            word
            for word in ("From", "Because", "Something", "You have", "Popular", "ardly anyone")
            if word in reason
        ),
        "?",
    )


def _serve(listener: int, discovery: float, now: datetime) -> ServedList:
    return recommendations.recommend(
        listener, options=serving_options(), n=LIST_LENGTH, discovery=discovery, now=now,
        seed=f"{listener}:{discovery}:{now:%d}",
    )  # fmt: skip


def _champion() -> int:
    return current_model().version_id or 0


def _time_heaviest(listener: int, now: datetime) -> float:
    """Median seconds of a list right after a new session, so that the candidates are scored anew."""
    seconds = []
    for number in range(TIMED_LISTS):
        at = now + timedelta(minutes=number)
        song = ListeningHistory.objects.filter(user=listener).values_list("items", flat=True)[0][0]
        ListeningHistory.objects.create(user_id=listener, items=[song], created_at=at, updated_at=at)
        begun = time.perf_counter()
        _serve(listener, 0.3, at)
        seconds.append(time.perf_counter() - begun)
    return median(seconds)


def main() -> None:
    source, n_listeners, most = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    now = fill_demo(2_000, 300, 60) if source == "demo" else fill_dataset(Path(source), most)
    run = retrain_now(trigger=TrainingRun.Trigger.COMMAND)
    if run.status != TrainingRun.Status.SUCCEEDED:
        sys.exit(f"The training did not succeed: {run.status}, {run.error}")
    sys.stdout.buffer.write(orjson.dumps(measure(now, n_listeners)))


if __name__ == "__main__":
    main()
