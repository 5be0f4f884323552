"""Names for groups of songs that a person understands, made from what is over-represented in each."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recommender.engine.data import Catalogue

# Added to counts, so that a word of two songs in a group of three is not the most telling one there is.
PSEUDO_COUNT: Final = 2.0
# Of a group's songs, a genre must hold for so many to name it; a genre of nearly all songs names nothing.
LEAST_SHARE: Final = 0.15
LEAST_LIFT: Final = 1.25
# A second genre is named where it holds for half as many songs as the first, and tells something else.
SECOND_GENRE_RATIO: Final = 0.5
LEAST_DECADE: Final = 0.5
# In the feature's own standard deviations over all songs, a group's mean must be so far from the middle.
LEAST_MOOD: Final = 0.5
MOST_EXAMPLES: Final = 5
# Feature: what a high mean is called, and a low one; "" where a low one is what most songs have.
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
    """What a group is called, and why.

    Attributes:
        genres: the over-represented ones, with their share of the group's songs.
        examples: columns of songs that a listener may know: the most played ones.
    """

    name: str
    size: int
    genres: dict[str, float] = field(default_factory=dict)
    decade: str = ""
    moods: list[str] = field(default_factory=list)
    examples: list[int] = field(default_factory=list)


def name_clusters(
    catalogue: Catalogue, labels: NDArray[np.int32], n_clusters: int, plays: NDArray[np.float32] | None = None
) -> list[ClusterName]:
    """A name for each group, all different: "Rock, energetic, 1990s".

    Args:
        labels: shape (n_songs,), each song's group.
        plays: shape (n_songs,), how often each was played; None: unknown.
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
    """What may be said of a group, the most telling first; a name is made of as many as it takes."""
    named = list(genres)[:2]
    if len(named) == 2 and (
        genres[named[1]] < SECOND_GENRE_RATIO * genres[named[0]] or _share_a_word(*named)
    ):
        named = named[:1]
    head = " and ".join(named) or (f"{next(iter(artists))} and others" if artists else "mixed")
    rest = [word for word in (*moods[:1], decade, *moods[1:2]) if word]
    known = [f"with {artist}" for artist in list(artists)[:2]]
    return [head[:1].upper() + head[1:], *rest, *known, *moods[2:], *list(genres)[len(named) : 4]]


def _share_a_word(one: str, other: str) -> bool:
    """Whether one genre's name says the other's: "rock" and "indie rock"."""
    return bool(set(one.split()) & set(other.split()))


def _distinct_names(words: Sequence[Sequence[str]]) -> list[str]:
    """Names of up to three words, longer where two groups would share one; numbered as a last resort."""
    lengths = [min(3, len(of_one)) for of_one in words]
    while True:
        names = [", ".join(of_one[:length]) for of_one, length in zip(words, lengths, strict=True)]
        shared = {name for name, count in Counter(names).items() if count > 1}
        longer = [
            length + (name in shared and length < len(of_one))
            for name, length, of_one in zip(names, lengths, words, strict=True)
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
    """For each group its over-represented values with their shares, the most telling first.

    Told by share x log(lift), the lift shrunk towards 1: a value's part of the group's information.
    """
    overall = Counter(value for of_song in values for value in of_song)
    songs = max(1, len(values))
    return [_over_represented_in(values, group, overall, songs) for group in members]


def _over_represented_in(
    values: Sequence[Sequence[str]], group: NDArray[np.int64], overall: Counter[str], songs: int
) -> dict[str, float]:
    counts = Counter(value for song in group.tolist() for value in values[song])
    found: dict[str, tuple[float, float]] = {}
    for value, count in counts.items():
        usual = overall[value] / songs
        share = count / max(1, len(group))
        lift = (count + PSEUDO_COUNT * usual) / ((len(group) + PSEUDO_COUNT) * usual)
        everywhere = lift < LEAST_LIFT and len(group) < songs
        if share >= LEAST_SHARE and count > 1 and not everywhere:
            found[value] = (share * math.log(max(lift, 1.0 + 1e-9)) + 1e-6 * share, share)
    ordered = sorted(found, key=lambda value: (-found[value][0], value))
    return {value: round(found[value][1], 4) for value in ordered[:5]}


def _moods(catalogue: Catalogue, members: Sequence[NDArray[np.int64]]) -> list[list[str]]:
    """For each group its moods, the most pronounced first."""
    strengths: list[list[tuple[float, str]]] = [[] for _ in members]
    for feature, (high, low) in MOODS.items():
        column = catalogue.audio.get(feature)
        known = np.isfinite(column) if column is not None else None
        if column is None or known is None or not known.any() or not column[known].std() > 0:
            continue
        middle, spread = column[known].mean(), column[known].std()
        for label, songs in enumerate(members):
            own = column[songs][known[songs]]
            distance = float((own.mean() - middle) / spread) if len(own) else 0.0
            word = high if distance > 0 else low
            if word and abs(distance) >= LEAST_MOOD:
                strengths[label].append((abs(distance), word))
    return [
        [word for _, word in sorted(of_one, key=lambda pair: (-pair[0], pair[1]))] for of_one in strengths
    ]


def _decade(years: NDArray[np.float64]) -> str:
    """ "1990s" where at least half the songs of known year are of it; else nothing."""
    known = years[np.isfinite(years)]
    if not len(known):
        return ""
    decades, counts = np.unique(known // 10 * 10, return_counts=True)
    best = int(counts.argmax())
    return f"{int(decades[best])}s" if counts[best] >= LEAST_DECADE * len(years) else ""
