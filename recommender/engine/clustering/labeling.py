"""Readable cluster names such as "Rock, energetic, 1990s", from what is over-represented in the cluster."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recommender.engine.data import Catalogue

PSEUDO_COUNT: Final = 2.0  # shrinks the lift, so that a genre of two songs in a cluster of three does not win
LEAST_SHARE: Final = 0.15  # a genre can be in the name if this share of the cluster's songs has it
LEAST_LIFT: Final = 1.25  # below it a genre is about as common in all songs
SECOND_GENRE_RATIO: Final = 0.5  # a second genre needs half as many songs as the first
LEAST_DECADE_SHARE: Final = 0.5
LEAST_MOOD: Final = 0.5  # distance of the cluster's mean from that of all songs, in standard deviations
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


@dataclass(frozen=True)
class ClusterName:
    name: str
    size: int  # number of songs
    # Over-represented genres and their share of the cluster's songs, most informative first.
    genres: dict[str, float] = field(default_factory=dict)
    decade: str = ""  # such as "1990s"; "" if no decade holds half the songs
    moods: list[str] = field(default_factory=list)  # at most two, most pronounced first
    examples: list[int] = field(default_factory=list)  # columns of the most played songs, at most five


def name_clusters(
    catalogue: Catalogue, labels: NDArray[np.int32], n_clusters: int, plays: NDArray[np.float32] | None = None
) -> list[ClusterName]:
    """Give every cluster a different name.

    Args:
        plays: shape (n_songs,); the most played songs become the examples.
    """
    order = np.argsort(-plays, kind="stable") if plays is not None else np.arange(catalogue.n_songs)
    members = [order[labels[order] == label] for label in range(n_clusters)]
    genres = _over_represented([_split_genres(text) for text in catalogue.genres], members)
    artists = _over_represented([[artist] if artist else [] for artist in catalogue.artists], members)
    moods = _moods(catalogue, members)
    decades = [_decade(catalogue.release_years[songs]) for songs in members]
    words = [
        _name_words(genres[label], artists[label], moods[label], decades[label])
        for label in range(n_clusters)
    ]
    return [
        ClusterName(
            name, len(songs), genres[label], decades[label], moods[label][:2], songs[:MOST_EXAMPLES].tolist()
        )
        for label, (name, songs) in enumerate(zip(_distinct_names(words), members, strict=True))
    ]


def _name_words(
    genres: dict[str, float], artists: dict[str, float], moods: list[str], decade: str
) -> list[str]:
    named = list(genres)[:2]
    if len(named) == 2 and (
        genres[named[1]] < SECOND_GENRE_RATIO * genres[named[0]] or _share_a_word(*named)
    ):
        named = named[:1]
    head = " and ".join(named) or (f"{next(iter(artists))} and others" if artists else "mixed")
    rest = [word for word in (*moods[:1], decade, *moods[1:2]) if word]
    with_artists = [f"with {artist}" for artist in list(artists)[:2]]
    return [head[:1].upper() + head[1:], *rest, *with_artists, *moods[2:], *list(genres)[len(named) : 4]]


def _share_a_word(one: str, other: str) -> bool:
    return bool(set(one.split()) & set(other.split()))


def _distinct_names(words: Sequence[Sequence[str]]) -> list[str]:
    lengths = [min(3, len(cluster_words)) for cluster_words in words]
    while True:
        names = [
            ", ".join(cluster_words[:length]) for cluster_words, length in zip(words, lengths, strict=True)
        ]
        shared = {name for name, count in Counter(names).items() if count > 1}
        longer = [
            length + (name in shared and length < len(cluster_words))
            for name, length, cluster_words in zip(names, lengths, words, strict=True)
        ]
        if longer == lengths:
            return _number_duplicates(names)
        lengths = longer


def _number_duplicates(names: Iterable[str]) -> list[str]:
    used: Counter[str] = Counter()
    numbered = []
    for name in names:
        used[name] += 1
        numbered.append(f"{name} ({used[name]})" if used[name] > 1 else name)
    return numbered


def _split_genres(text: str) -> list[str]:
    return list(dict.fromkeys(" ".join(part.split()).casefold() for part in text.split(",") if part.strip()))


def _over_represented(
    values: Sequence[Sequence[str]], members: Sequence[NDArray[np.int64]]
) -> list[dict[str, float]]:
    """For each cluster at most five values with their shares, ranked by share x log(lift)."""
    # Share x log(lift) is the value's contribution to the Kullback-Leibler divergence between cluster and
    # catalogue; the lift is shrunk towards 1.
    overall = Counter(value for song_values in values for value in song_values)
    n_songs = max(1, len(values))
    return [_over_represented_in(values, songs, overall, n_songs) for songs in members]


def _over_represented_in(
    values: Sequence[Sequence[str]], songs: NDArray[np.int64], overall: Counter[str], n_songs: int
) -> dict[str, float]:
    counts = Counter(value for song in songs.tolist() for value in values[song])
    scored: dict[str, tuple[float, float]] = {}
    for value, count in counts.items():
        expected = overall[value] / n_songs
        share = count / max(1, len(songs))
        lift = (count + PSEUDO_COUNT * expected) / ((len(songs) + PSEUDO_COUNT) * expected)
        is_common = lift < LEAST_LIFT and len(songs) < n_songs
        if share >= LEAST_SHARE and count > 1 and not is_common:
            scored[value] = (share * math.log(max(lift, 1.0 + 1e-9)) + 1e-6 * share, share)
    ordered = sorted(scored, key=lambda value: (-scored[value][0], value))
    return {value: round(scored[value][1], 4) for value in ordered[:5]}


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


def _decade(years: NDArray[np.float64]) -> str:
    known = years[np.isfinite(years)]
    if not len(known):
        return ""
    decades, counts = np.unique(known // 10 * 10, return_counts=True)
    best = int(counts.argmax())
    return f"{int(decades[best])}s" if counts[best] >= LEAST_DECADE_SHARE * len(years) else ""
