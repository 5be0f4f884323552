"""Cluster names such as "Rock, energetic, 1990s" or "Muse and Keane".

A name's genres, moods, decades or artists are more frequent in the cluster than in the catalogue.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.engine.data import Catalogue
from recommender.engine.identity.credits import artist_key
from recommender.engine.identity.genres import WRITTEN, capitalise, split_genres, write_genre
from recommender.engine.identity.name_words import ERA, NameWords, name_key, parts_of
from recommender.engine.identity.text import fold_key

MAX_NAME_LENGTH: Final = 40
MAX_NAME_PARTS: Final = 3
PSEUDO_COUNT: Final = 2.0  # shrinks the lift, so that a genre of two songs in a cluster of three does not win
LEAST_SHARE: Final = 0.25  # a genre can be in the name if this share of the cluster's songs has it
LEAST_LIFT: Final = 1.25  # below it a genre is about as common in all songs
MAIN_SHARE: Final = 0.6  # a genre of this share is used even if it is as common in all songs
SECOND_GENRE_RATIO: Final = 0.5  # a second genre needs half as many songs as the first
# A genre needs this many artists, in a large catalogue one of 200 (at most 20), so that a joke tag on a
# dozen artists does not count as a genre. In a large catalogue, a word that is not known as a genre needs
# three times as many: where listeners tag songs, as on Last.fm, dozens of artists have the private note of a
# single listener.
MIN_GENRE_ARTISTS: Final = 3
ARTISTS_PER_GENRE_ARTIST: Final = 200
MAX_GENRE_ARTISTS: Final = 20
UNKNOWN_GENRE_FACTOR: Final = 3
MIN_LISTENERS: Final = 3  # listeners who played the cluster's songs of the genre or artist
LEAST_DECADE_SHARE: Final = 0.5
YEARS: Final = (1900, 2100)  # other years are errors of the source
LEAST_MOOD: Final = 0.5  # distance of the cluster's mean from that of all songs, in standard deviations
LEAST_ARTIST_SHARE: Final = 0.05  # of the cluster's plays, for an artist of one song
SINGLE_ARTIST_SHARE: Final = 0.5  # of the cluster's songs, for a name of one artist
MAX_ARTIST_LENGTH: Final = 30
MOST_EXAMPLES: Final = 5
# Audio feature: the word for a high mean and for a low one; "" if most songs are low.
MOODS: Final[Mapping[str, tuple[str, str]]] = {
    "energy": ("energetic", "calm"),
    "valence": ("cheerful", "sad"),
    "danceability": ("danceable", ""),
    "acousticness": ("acoustic", ""),
    "instrumentalness": ("instrumental", ""),
    "speechiness": ("spoken", ""),
    "liveness": ("live", ""),
    "tempo": ("fast", "slow"),
    "loudness": ("loud", "quiet"),
}
MOOD_KEYS: Final = frozenset(fold_key(word) for pair in MOODS.values() for word in pair if word)
GENRES, ARTISTS, SOUND, KEPT, NO_NAME = "genres", "artists", "sound", "kept", "none"


@dataclass(frozen=True)
class ClusterName:
    name: str  # '' if nothing is distinctive
    size: int  # number of songs
    # Over-represented genres and their share of the cluster's songs, most informative first.
    genres: dict[str, float] = field(default_factory=dict)
    decade: str = ""  # such as "1990s"; "" if no decade holds half the songs
    moods: list[str] = field(default_factory=list)  # at most two, most pronounced first
    examples: list[int] = field(default_factory=list)  # columns of the most played songs, at most five
    kind: str = NO_NAME  # what the name consists of: genres, artists or sound; kept: from an earlier model


def name_clusters(
    catalogue: Catalogue,
    labels: NDArray[np.int32],
    n_clusters: int,
    plays: NDArray[np.float32] | None = None,
    *,
    heard_by: csr_array | None = None,
    words: NameWords | None = None,
    kept: Mapping[int, str] | None = None,
    vetoed: Mapping[int, Collection[str]] | None = None,
) -> list[ClusterName]:
    """Name each cluster uniquely; '' for a cluster without distinctive features.

    Args:
        plays: shape (n_songs,), for the examples.
        heard_by: shape (n_songs, n_listeners), an entry for each listener of a song; None: unknown.
        kept: names of an earlier model by label, kept if still acceptable.
        vetoed: names that a cluster must not have, by label.
    """
    words = words or NameWords()
    order = np.argsort(-plays, kind="stable") if plays is not None else np.arange(catalogue.n_songs)
    members = [order[labels[order] == label] for label in range(n_clusters)]
    evidence = _Evidence(catalogue, plays, heard_by, words)
    genres = [evidence.genres_of(songs) for songs in members]
    moods = _moods(catalogue, members)
    decades = _decades(catalogue.release_years, members)
    names: dict[int, tuple[str, str]] = {}
    used: set[str] = set()
    barred = [{name_key(name) for name in (vetoed or {}).get(label, ())} for label in range(n_clusters)]
    for label, name in (kept or {}).items():
        is_held = bool(name) and not _starts_with_other_genre(name, evidence.shares_in(members[label]))
        is_held = is_held and not evidence.has_untelling_genre(name)
        if is_held and is_acceptable_name(name, words) and name_key(name) not in used | barred[label]:
            names[label] = (name, KEPT)
            used.add(name_key(name))
    # The largest cluster chooses first.
    for label in sorted(range(n_clusters), key=lambda one: (-len(members[one]), one)):
        if label in names or not len(members[label]):
            continue
        taken = used | barred[label]
        options = _name_options(list(genres[label]), evidence, members[label], moods[label], decades[label])
        fitting = ((name, kind) for name, kind in options if len(name) <= MAX_NAME_LENGTH)
        chosen = next(((name, kind) for name, kind in fitting if name_key(name) not in taken), None)
        if chosen is not None:
            names[label] = chosen
            used.add(name_key(chosen[0]))
    return [
        ClusterName(
            names.get(label, ("", NO_NAME))[0], len(songs), genres[label], decades[label], moods[label][:2],
            songs[:MOST_EXAMPLES].tolist(), names.get(label, ("", NO_NAME))[1],
        )
        for label, songs in enumerate(members)
    ]  # fmt: skip


def is_acceptable_name(name: str, words: NameWords) -> bool:
    """Whether a name of an earlier model follows the current rules."""
    parts = parts_of(name)
    keys = [fold_key(part.removeprefix("with ")) for part in parts]
    is_written = all(
        key not in WRITTEN or part in {WRITTEN[key], capitalise(WRITTEN[key])}
        for key, part in zip(keys, parts, strict=True)
    )
    return (
        0 < len(name) <= MAX_NAME_LENGTH
        and len(parts) <= MAX_NAME_PARTS
        and len(set(keys)) == len(keys)
        and is_written
        and not name.startswith(("Mixed", "Cluster "))
        and not name.endswith(")")
        and not name.endswith(" and others")
        and "0s" not in parts
        and not words.bars_name(name)
    )


def _starts_with_other_genre(name: str, shares: Mapping[str, float]) -> bool:
    first = fold_key(name.split(",", 1)[0].split(" and ", 1)[0])
    return first in shares and shares[first] < LEAST_SHARE / 2


def _name_options(
    genres: list[str],
    evidence: "_Evidence",
    songs: NDArray[np.int64],
    moods: list[str],
    decade: str,
) -> Iterator[tuple[str, str]]:
    """Yield possible names and their kinds, the most distinctive first."""
    extras = [word for word in (*moods[:1], decade, *moods[1:3]) if word]
    if genres:
        yield from ((name, GENRES) for name in _genre_options(genres, evidence.shares_in(songs), extras))
    yield from ((name, ARTISTS) for name in _artist_options(evidence, songs))
    if not genres and extras:
        yield capitalise(", ".join(extras[:MAX_NAME_PARTS])), SOUND


def _genre_options(genres: list[str], shares: Mapping[str, float], extras: list[str]) -> Iterator[str]:
    first = genres[0]
    least = SECOND_GENRE_RATIO * shares[fold_key(first)]
    for second in genres[1:2]:
        if shares[fold_key(second)] >= least and not _share_a_word(first, second):
            yield _join(f"{first} and {second}", extras[: MAX_NAME_PARTS - 2])
    yield _join(first, extras[: MAX_NAME_PARTS - 1])
    for n in (2, 1):
        yield from (_join(first, chosen) for chosen in combinations(extras, n))
    yield from (f"{capitalise(first)} and {other}" for other in genres[1:] if not _share_a_word(first, other))


def _artist_options(evidence: "_Evidence", songs: NDArray[np.int64]) -> Iterator[str]:
    artists = evidence.artists_of(songs)
    for n in (3, 2):
        if len(artists) >= n:
            yield f"{', '.join(artists[: n - 1])} and {artists[n - 1]}"
    # If another cluster has taken the first two, or they are too long together.
    yield from (f"{one} and {other}" for one, other in combinations(artists[:5], 2))
    if artists and evidence.artist_share(artists[0], songs) >= SINGLE_ARTIST_SHARE:
        yield artists[0]


def _join(head: str, extras: Sequence[str]) -> str:
    return ", ".join([capitalise(head), *(extra for extra in extras if fold_key(extra) != fold_key(head))])


def _share_a_word(one: str, other: str) -> bool:
    """Whether two genres share a word, such as "rock" and "indie rock", or are nearly the same."""
    a, b = fold_key(one), fold_key(other)
    return a in b or b in a or bool(set(one.casefold().split()) & set(other.casefold().split()))


class _Evidence:
    def __init__(
        self,
        catalogue: Catalogue,
        plays: NDArray[np.float32] | None,
        heard_by: csr_array | None,
        words: NameWords,
    ) -> None:
        self._n_songs = max(1, catalogue.n_songs)
        self._plays, self._heard_by = plays, heard_by
        self._codes = catalogue.artist_codes()
        self._genres, self._spellings = _genres_of_songs(catalogue.genres)
        self._counts = Counter(key for keys in self._genres for key in keys)
        self._leads, self._lead_texts = _leads_of_songs(catalogue)
        self._lead_weights = self._weigh_leads(range(catalogue.n_songs))
        self._telling = self._find_telling_genres(words)
        self._words = words
        # Minimum number of listeners; without plays they cannot be counted.
        active = 0 if heard_by is None else len(np.unique(heard_by.indices))
        self._min_listeners = min(MIN_LISTENERS, math.ceil(active / 10))

    def genres_of(self, songs: NDArray[np.int64]) -> dict[str, float]:
        """At most five genres and their shares of the songs, ranked by share x log(lift)."""
        # Share x log(lift) is the genre's contribution to the Kullback-Leibler divergence between cluster
        # and catalogue; the lift is shrunk towards 1.
        counts = Counter(key for song in songs.tolist() for key in self._genres[song])
        scored: dict[str, tuple[float, float]] = {}
        for key, count in counts.items():
            expected = self._counts[key] / self._n_songs
            share = count / max(1, len(songs))
            lift = (count + PSEUDO_COUNT * expected) / ((len(songs) + PSEUDO_COUNT) * expected)
            # In a catalogue of mostly pop, "Pop" still describes a cluster.
            is_common = lift < LEAST_LIFT and share < MAIN_SHARE
            if key in self._telling and share >= LEAST_SHARE and count > 1 and not is_common:
                scored[key] = (share * math.log(max(lift, 1.0 + 1e-9)) + 1e-6 * share, share)
        ordered = sorted(scored, key=lambda key: (-scored[key][0], key))
        found = {
            self._spellings[key]: round(scored[key][1], 4)
            for key in ordered[:10]
            if self._is_broad(key, songs)
        }
        return dict(list(found.items())[:5])

    def shares_in(self, songs: NDArray[np.int64]) -> dict[str, float]:
        counts = Counter(key for song in songs.tolist() for key in self._genres[song])
        return {key: count / max(1, len(songs)) for key, count in counts.items()}

    def has_untelling_genre(self, name: str) -> bool:
        """Whether a part of a cluster's name is a genre of the catalogue that names may not contain.

        Moods, decades and artists may be in a name although somebody used the word as a genre, too.
        """
        parts = [part for part in parts_of(name) if not ERA.fullmatch(part.casefold())]
        keys = {fold_key(part) for part in parts if artist_key(part) not in self._lead_texts} - MOOD_KEYS
        return any(key in self._counts and key not in self._telling for key in keys)

    def artists_of(self, songs: NDArray[np.int64]) -> list[str]:
        """At most six lead artists of the songs, the most typical first."""
        here = self._weigh_leads(songs.tolist())
        counts = Counter(self._leads[song] for song in songs.tolist())
        total, is_played = sum(here.values()) or 1.0, self._plays is not None
        typical = {
            key: weight * weight / self._lead_weights[key]
            for key, weight in here.items()
            if key
            and weight > 0
            and (counts[key] > 1 or (is_played and weight / total >= LEAST_ARTIST_SHARE))
        }
        ordered = sorted(typical, key=lambda key: (-typical[key], key))[:12]
        texts = [self._lead_texts[key] for key in ordered if self._is_artist_broad(key, songs)]
        return [
            text for text in texts if len(text) <= MAX_ARTIST_LENGTH and not self._words.has_bad_word(text)
        ][:6]

    def artist_share(self, artist: str, songs: NDArray[np.int64]) -> float:
        key = artist_key(artist)
        own = sum(self._leads[song] == key for song in songs.tolist())
        return float(own / max(1, len(songs)))

    def _weigh_leads(self, songs: Sequence[int]) -> dict[str, float]:
        weights: dict[str, float] = defaultdict(float)
        for song in songs:
            weights[self._leads[song]] += 1.0 if self._plays is None else float(self._plays[song])
        return weights

    def _is_broad(self, key: str, songs: NDArray[np.int64]) -> bool:
        own = np.array([song for song in songs.tolist() if key in self._genres[song]], dtype=np.int64)
        is_by_several = len(np.unique(self._codes[own])) > 1 or len(np.unique(self._codes[songs])) == 1
        return is_by_several and self._count_listeners(own) >= self._min_listeners

    def _is_artist_broad(self, key: str, songs: NDArray[np.int64]) -> bool:
        own = np.array([song for song in songs.tolist() if self._leads[song] == key], dtype=np.int64)
        # An artist of one song is typical only if several listeners play the song.
        least = self._min_listeners if len(own) > 1 else MIN_LISTENERS
        return self._count_listeners(own) >= least

    def _count_listeners(self, songs: NDArray[np.int64]) -> int:
        return 0 if self._heard_by is None else len(np.unique(self._heard_by[songs].indices))

    def _find_telling_genres(self, words: NameWords) -> set[str]:
        n_artists = len(np.unique(self._codes))
        artists: dict[str, set[int]] = defaultdict(set)
        for keys, code in zip(self._genres, self._codes.tolist(), strict=True):
            for key in keys:
                artists[key].add(code)
        fewest = min(MIN_GENRE_ARTISTS, math.ceil(n_artists / 4))
        share = min(MAX_GENRE_ARTISTS, n_artists / ARTISTS_PER_GENRE_ARTIST)

        def is_telling(key: str) -> bool:
            factor = 1 if words.knows(self._spellings[key]) else UNKNOWN_GENRE_FACTOR
            is_broad = len(artists[key]) >= max(fewest, math.floor(factor * share))
            return is_broad and words.allows(self._spellings[key])

        return {key for key in artists if is_telling(key)}


def _genres_of_songs(texts: Sequence[str]) -> tuple[list[list[str]], dict[str, str]]:
    """Genre keys of each text, and how each genre is written."""
    spellings: dict[str, Counter[str]] = defaultdict(Counter)
    known: dict[str, list[str]] = {}
    for text, songs in Counter(texts).items():
        genres = split_genres(text)
        known[text] = [fold_key(genre) for genre in genres]
        for key, genre in zip(known[text], genres, strict=True):
            spellings[key][write_genre(genre)] += songs
    written = {key: max(sorted(found), key=found.__getitem__) for key, found in spellings.items()}
    return [known[text] for text in texts], written


def _leads_of_songs(catalogue: Catalogue) -> tuple[list[str], dict[str, str]]:
    """Key of each song's lead artist ('' if unknown), and how each artist is written."""
    spellings: dict[str, Counter[str]] = defaultdict(Counter)
    for credit, songs in Counter(catalogue.artists).items():
        lead = " ".join(catalogue.credits.lead(credit).split())
        spellings[catalogue.credits.lead_key(credit)][lead] += songs
    keys = [catalogue.credits.lead_key(credit) for credit in catalogue.artists]
    return keys, {key: max(sorted(found), key=found.__getitem__) for key, found in spellings.items()}


def _moods(catalogue: Catalogue, members: Sequence[NDArray[np.int64]]) -> list[list[str]]:
    strengths: list[list[tuple[float, str]]] = [[] for _ in members]
    for feature, (high, low) in MOODS.items():
        column = catalogue.audio.get(feature)
        known = np.isfinite(column) if column is not None else None
        if column is None or known is None or not known.any() or not column[known].std() > 0:
            continue
        mean, deviation = column[known].mean(), column[known].std()
        for label, songs in enumerate(members):
            own = column[songs][known[songs]]
            distance = float((own.mean() - mean) / deviation) if len(own) else 0.0
            word = high if distance > 0 else low
            if word and abs(distance) >= LEAST_MOOD:
                strengths[label].append((abs(distance), word))
    return [[word for _, word in sorted(moods, key=lambda pair: (-pair[0], pair[1]))] for moods in strengths]


def _decades(years: NDArray[np.float64], members: Sequence[NDArray[np.int64]]) -> list[str]:
    """Each cluster's decade, such as "1990s", if it holds half of the songs and is typical; else ""."""
    overall = Counter((years[_is_year(years)] // 10 * 10).tolist())
    return [_decade(years[songs], overall, len(years)) for songs in members]


def _decade(years: NDArray[np.float64], overall: Mapping[float, int], n_songs: int) -> str:
    known = years[_is_year(years)]
    if not len(known):
        return ""
    decades, counts = np.unique(known // 10 * 10, return_counts=True)
    best = int(counts.argmax())
    share, usual = counts[best] / len(years), overall[float(decades[best])] / n_songs
    is_typical = share >= LEAST_LIFT * usual or len(years) == n_songs
    return f"{int(decades[best])}s" if share >= LEAST_DECADE_SHARE and is_typical else ""


def _is_year(years: NDArray[np.float64]) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        return np.asarray((years >= YEARS[0]) & (years < YEARS[1]))
