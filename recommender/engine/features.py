"""What is known of songs besides who plays them, as numbers: metadata as TF-IDF, sound as scaled columns."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.engine.data import Catalogue
from recommender.engine.svd import truncated_svd, unit_rows

METADATA_AXES: Final = 64
# A token of one song alone says nothing of two songs' likeness; it would only fill the memory.
FEWEST_SONGS_PER_TOKEN: Final = 2
# Of the columns' own spread; what lies further out is as far as it gets, so that one typo decides nothing.
MOST_DEVIATIONS: Final = 4.0
# Of a normal distribution's middle half, in standard deviations.
IQR_OF_NORMAL: Final = 1.349


@dataclass(frozen=True)
class FeatureSpace:
    """How songs become rows; made once, and used for songs that come later too.

    Attributes:
        tokens: names of the metadata columns, such as "artist:abba" and "genre:rock".
        idf: shape (n_tokens,), log((1 + songs) / (1 + songs with it)) + 1.
        names: names of the sound columns: "year", "duration" and the audio features.
        centres, scales: shape (n_names,), median and spread of each; scale 0 for a column that says nothing.
        axes: shape (n_tokens, d): the metadata's main directions.
        length: root of the mean squared length of the scaled sound rows; 0 where no column says anything.
    """

    tokens: list[str]
    idf: NDArray[np.float32]
    names: list[str]
    centres: NDArray[np.float64]
    scales: NDArray[np.float64]
    axes: NDArray[np.float32]
    length: float

    def metadata(self, catalogue: Catalogue) -> csr_array:
        """Shape (n_songs, n_tokens): TF-IDF, rows of length 1; tokens never seen before are left out."""
        columns = {token: column for column, token in enumerate(self.tokens)}
        found = [[columns[token] for token in song if token in columns] for song in song_tokens(catalogue)]
        counts = np.array([len(row) for row in found], dtype=np.int64)
        indices = np.fromiter((column for row in found for column in row), np.int64, count=int(counts.sum()))
        return _tfidf(indices, counts, self.idf)

    def sound(self, catalogue: Catalogue) -> NDArray[np.float32]:
        """Shape (n_songs, n_names): each column in its own spreads from its median.

        0 where the song's value is unknown, and in columns that say nothing: neither pulls anywhere.
        """
        columns = numeric_columns(catalogue)
        unknown = np.full(catalogue.n_songs, np.nan)
        raw = np.stack([columns.get(name, unknown) for name in self.names], axis=1) if self.names else None
        if raw is None:
            return np.zeros((catalogue.n_songs, 0), dtype=np.float32)
        scaled = (raw - self.centres) / np.where(self.scales > 0, self.scales, 1)
        scaled = np.where(np.isfinite(scaled) & (self.scales > 0), scaled, 0)
        return np.clip(scaled, -MOST_DEVIATIONS, MOST_DEVIATIONS).astype(np.float32)

    def transform(self, catalogue: Catalogue) -> NDArray[np.float32]:
        """Shape (n_songs, d + n_names): metadata's main directions, of length 1 or 0, and sound beside them.

        Both weigh alike: the sound is of length 1 over the songs learnt from, not in each: of a single column
        nothing would be left but its sign, and one known value would speak as loud as ten.
        """
        return self.join_features(self.metadata(catalogue), self.sound(catalogue))

    def join_features(self, metadata: csr_array, sound: NDArray[np.float32]) -> NDArray[np.float32]:
        """`transform`, of what `metadata` and `sound` returned."""
        directions = unit_rows(np.asarray(metadata @ self.axes, dtype=np.float32))
        return np.hstack([directions, sound / np.float32(self.length or 1)])

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {name: getattr(self, name) for name in ("idf", "centres", "scales", "axes")}

    def facts(self) -> dict[str, object]:
        return {"tokens": self.tokens, "names": self.names, "length": self.length}

    @classmethod
    def from_parts(cls, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> Self:
        return cls(
            tokens=list(facts["tokens"]), names=list(facts["names"]), length=float(facts["length"]), **arrays
        )


def fit_features(catalogue: Catalogue, *, seed: int) -> FeatureSpace:
    """Learn which words there are, how telling they are, and each column's middle and spread.

    A column's unit is of no account: multiplied by a constant, its scaled values are the same.
    """
    return fit_transform(catalogue, seed=seed)[0]


def fit_transform(catalogue: Catalogue, *, seed: int) -> tuple[FeatureSpace, NDArray[np.float32]]:
    """`fit_features`, and the same songs' rows as of `transform`, from reading the songs' texts once."""
    tokens, idf, metadata = _fit_tfidf(catalogue)
    columns = numeric_columns(catalogue)
    centres, scales = _medians_and_scales(columns)
    axes = weighted_axes(metadata, seed)
    space = FeatureSpace(tokens, idf, list(columns), centres, scales, axes, length=1.0)
    sound = space.sound(catalogue)
    squares = (sound.astype(np.float64) ** 2).sum(axis=1)
    space = replace(space, length=float(np.sqrt(squares.mean())) if len(squares) else 0.0)
    return space, space.join_features(metadata, sound)


def _fit_tfidf(catalogue: Catalogue) -> tuple[list[str], NDArray[np.float32], csr_array]:
    """The tokens in alphabetical order, their idf, and the catalogue's rows, from reading the songs once."""
    numbers: dict[str, int] = {}
    counts, found = [], []
    for song in song_tokens(catalogue):
        counts.append(len(song))
        found.extend([numbers.setdefault(token, len(numbers)) for token in song])
    lengths, codes = np.array(counts, dtype=np.int64), np.array(found, dtype=np.int64)
    songs = np.bincount(codes, minlength=len(numbers))
    tokens = sorted(token for token, number in numbers.items() if songs[number] >= FEWEST_SONGS_PER_TOKEN)
    places = np.array([numbers[token] for token in tokens], dtype=np.int64)
    idf = (np.log((1 + catalogue.n_songs) / (1 + songs[places])) + 1).astype(np.float32)
    columns = np.full(len(numbers), -1, dtype=np.int64)
    columns[places] = np.arange(len(tokens))
    kept = columns[codes] >= 0
    rows = np.repeat(np.arange(len(lengths)), lengths)[kept]
    return tokens, idf, _tfidf(columns[codes][kept], np.bincount(rows, minlength=len(lengths)), idf)


def _tfidf(indices: NDArray[np.int64], counts: NDArray[np.int64], idf: NDArray[np.float32]) -> csr_array:
    """Rows of length 1: `counts` tokens for each song, one song's `indices` after the other's."""
    rows = np.repeat(np.arange(len(counts)), counts)
    values = idf[indices]
    lengths = np.sqrt(np.bincount(rows, weights=values**2, minlength=len(counts)))
    indptr = np.concatenate([[0], np.cumsum(counts)])
    shape = (len(counts), len(idf))
    return csr_array(((values / lengths[rows]).astype(np.float32), indices, indptr), shape=shape)


def weighted_axes(metadata: csr_array, seed: int) -> NDArray[np.float32]:
    """Shape (n_tokens, d): the metadata's singular vectors, each over the root of its singular value.

    Rows of the metadata times these are songs with their axes weighed by the root of the singular values.
    """
    vectors, strengths = truncated_svd(metadata, METADATA_AXES, seed=seed)
    return np.asarray(vectors / np.sqrt(np.maximum(strengths, 1e-12)), dtype=np.float32)


def song_tokens(catalogue: Catalogue) -> Iterator[list[str]]:
    """Each song's tokens, without repetition: artist, album, songwriters, genres and their words, decade."""
    for artist, album, writers, genres, year in zip(
        catalogue.artists, catalogue.albums, catalogue.songwriters, catalogue.genres,
        catalogue.release_years.tolist(), strict=True,
    ):  # fmt: skip
        by, record = _normalise_text(artist), _normalise_text(album)
        found = [f"artist:{by}"] if by else []
        if record:
            # Many albums are called "Greatest Hits".
            found.append(f"album:{by}/{record}")
        found += [f"songwriter:{writer}" for writer in _split_values(writers)]
        for genre in _split_values(genres):
            found.append(f"genre:{genre}")
            if " " in genre:
                found += [f"word:{word}" for word in genre.split(" ")]
        if math.isfinite(year):
            found.append(f"decade:{int(year) // 10 * 10}")
        yield list(dict.fromkeys(found))


def numeric_columns(catalogue: Catalogue) -> dict[str, NDArray[np.float64]]:
    """The year, the duration's logarithm and the audio features, by name."""
    durations = np.where(catalogue.durations > 0, catalogue.durations, np.nan)
    audio = {name: np.asarray(column, dtype=np.float64) for name, column in catalogue.audio.items()}
    return {"year": catalogue.release_years, "duration": np.log(durations), **audio}


def _medians_and_scales(
    columns: Mapping[str, NDArray[np.float64]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    found = [_median_and_scale(column[np.isfinite(column)]) for column in columns.values()]
    centres, scales = zip(*found, strict=True) if found else ((), ())
    return np.array(centres, dtype=np.float64), np.array(scales, dtype=np.float64)


def _median_and_scale(known: NDArray[np.float64]) -> tuple[float, float]:
    if not len(known):
        return 0.0, 0.0
    low, middle, high = np.quantile(known, [0.25, 0.5, 0.75])
    # Where more than half the songs share one value, what the others say still counts.
    spread = (high - low) / IQR_OF_NORMAL or float(known.std())
    # A column of equal values has a spread of rounding errors at most.
    return float(middle), spread if spread > 1e-9 * max(1e-300, float(np.abs(known).max())) else 0.0


def _split_values(text: str) -> Sequence[str]:
    return [value for value in (_normalise_text(part) for part in text.split(",")) if value]


def _normalise_text(text: str) -> str:
    return " ".join(text.casefold().split())


MOST_GENRE_WORDS = 5_000  # the most frequent ones; a source of random words must not fill the memory


def genre_vocabulary(texts: Sequence[str]) -> list[str]:
    """The words of the texts, most frequent first, then by alphabet; at most 5 000."""
    counts = Counter(word for text in texts for word in genre_words(text))
    return sorted(counts, key=lambda word: (-counts[word], word))[:MOST_GENRE_WORDS]


def genre_words(text: str) -> list[str]:
    """The genres of a text as sent, and their words, without repetition: 'Indie Rock, Pop' has four."""
    values = [" ".join(value.casefold().split()) for value in text.split(",")]
    words = [word for value in values if " " in value for word in value.split(" ")]
    return list(dict.fromkeys(word for word in [*values, *words] if word))


def genre_matrix(texts: Sequence[str], words: Sequence[str]) -> csr_array:
    """Shape (n_texts, n_words): 1 where the word is among the text's genres."""
    columns = {word: column for column, word in enumerate(words)}
    found = [[columns[word] for word in genre_words(text) if word in columns] for text in texts]
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in found])]).astype(np.int32)
    indices = np.array([column for row in found for column in row], dtype=np.int32)
    ones = np.ones(len(indices), dtype=np.float32)
    return csr_array((ones, indices, indptr), shape=(len(texts), len(words)))


def genre_idf(genres: csr_array) -> NDArray[np.float32]:
    """How telling each word is: log(1 + songs / songs with it)."""
    counts = np.bincount(genres.indices, minlength=genres.shape[1])
    return np.asarray(np.log1p(genres.shape[0] / np.maximum(counts, 1)), dtype=np.float32)


SPACE_PREFIX: Final = "space_"
SPACE_NUMERIC_ARRAYS: Final = ("idf", "centres", "scales", "axes")


def space_to_arrays(space: FeatureSpace) -> dict[str, NDArray[Any]]:
    """Every array by its name in the artifact; words as UTF-8 and where each ends: strings are objects."""
    found = {f"{SPACE_PREFIX}{name}": getattr(space, name) for name in SPACE_NUMERIC_ARRAYS}
    for name in ("tokens", "names"):
        words = [word.encode("utf-8", "surrogatepass") for word in getattr(space, name)]
        found[f"{SPACE_PREFIX}{name}"] = np.frombuffer(b"".join(words), dtype=np.uint8)
        found[f"{SPACE_PREFIX}{name}_ends"] = np.cumsum([len(word) for word in words], dtype=np.int64)
    found[f"{SPACE_PREFIX}length"] = np.array([space.length], dtype=np.float64)
    return found


def space_from_arrays(arrays: Mapping[str, NDArray[Any]]) -> FeatureSpace | None:
    """The space that `packed` took apart; None where the arrays hold none."""
    if f"{SPACE_PREFIX}length" not in arrays:
        return None
    numbers = {name: np.asarray(arrays[f"{SPACE_PREFIX}{name}"]) for name in SPACE_NUMERIC_ARRAYS}
    return FeatureSpace(
        tokens=_unpack_words(arrays, "tokens"), names=_unpack_words(arrays, "names"),
        length=float(arrays[f"{SPACE_PREFIX}length"][0]), **numbers,
    )  # fmt: skip


def _unpack_words(arrays: Mapping[str, NDArray[Any]], name: str) -> list[str]:
    whole = np.asarray(arrays[f"{SPACE_PREFIX}{name}"]).tobytes()
    ends = np.asarray(arrays[f"{SPACE_PREFIX}{name}_ends"]).tolist()
    return [
        whole[start:end].decode("utf-8", "surrogatepass")
        for start, end in zip([0, *ends], ends, strict=False)
    ]
