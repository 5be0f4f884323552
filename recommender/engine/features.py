"""Content features of songs: metadata as TF-IDF, sound as scaled columns, genres as words."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.engine.data import Catalogue
from recommender.engine.identity.credits import artist_key
from recommender.engine.identity.genres import genre_words, split_genres, words_of_genre
from recommender.engine.identity.name_words import BUILT_IN_WORDS
from recommender.engine.identity.text import fold_key
from recommender.engine.svd import make_unit_rows, truncated_svd

METADATA_AXES: Final = 64
FEWEST_SONGS_PER_TOKEN: Final = 2  # a token of a single song says nothing about similarity
SOUND_WEIGHT: Final = 0.5  # weight of sound if metadata has weight 1
MOST_DEVIATIONS: Final = 4.0  # values are clipped to this, so that one typo does not dominate
IQR_OF_NORMAL: Final = 1.349  # interquartile range of a normal distribution, in standard deviations
MOST_GENRE_WORDS: Final = 5_000  # the most frequent ones; a source of random words must not fill the memory
# How the values of these kinds of tokens are folded.
TOKEN_KEYS: Final[Mapping[str, Callable[[str], str]]] = {
    "artist": artist_key, "genre": fold_key, "word": fold_key,
}  # fmt: skip
NON_AUDIO_COLUMNS: Final = {"year", "duration"}  # sound columns that are no audio features
SPACE_PREFIX: Final = "space_"
SPACE_NUMERIC_ARRAYS: Final = ("idf", "centres", "scales", "axes")


@dataclass(frozen=True)
class FeatureSpace:
    """A feature space that is fitted on a catalogue and transforms new songs, too."""

    tokens: list[str]  # names of the metadata columns, such as "artist:abba" and "genre:rock"
    idf: NDArray[np.float32]  # shape (n_tokens,), log((1 + songs) / (1 + songs with the token)) + 1
    names: list[str]  # names of the sound columns: "year", "duration" and the audio features
    centres: NDArray[np.float64]  # shape (n_names,), medians
    scales: NDArray[np.float64]  # shape (n_names,), robust standard deviations; 0: constant column
    axes: NDArray[np.float32]  # shape (n_tokens, d), projects metadata to its main directions
    length: float  # root mean square length of the scaled sound rows; 0 if every column is constant

    def metadata(self, catalogue: Catalogue) -> csr_array:
        """L2-normalised TF-IDF, shape (n_songs, n_tokens); a zero row if no token is known."""
        columns: dict[str, int] = {}
        for column, token in enumerate(self.tokens):
            columns.setdefault(_fold_token(token), column)
        rows = [
            [columns[token] for token in tokens if token in columns] for tokens in _song_tokens(catalogue)
        ]
        counts = np.array([len(row) for row in rows], dtype=np.int64)
        indices = np.fromiter((column for row in rows for column in row), np.int64, count=int(counts.sum()))
        return _tfidf(indices, counts, self.idf)

    def sound(self, catalogue: Catalogue) -> NDArray[np.float32]:
        """Robust z-scores of the sound columns, shape (n_songs, n_names); 0 for an unknown value."""
        columns = numeric_columns(catalogue)
        unknown = np.full(catalogue.n_songs, np.nan)
        raw = np.stack([columns.get(name, unknown) for name in self.names], axis=1) if self.names else None
        if raw is None:
            return np.zeros((catalogue.n_songs, 0), dtype=np.float32)
        scaled = (raw - self.centres) / np.where(self.scales > 0, self.scales, 1)
        scaled = np.where(np.isfinite(scaled) & (self.scales > 0), scaled, 0)
        return np.clip(scaled, -MOST_DEVIATIONS, MOST_DEVIATIONS).astype(np.float32)

    def transform(self, catalogue: Catalogue) -> NDArray[np.float32]:
        """Feature rows: metadata directions, then sound, equally weighted; shape (n_songs, d + n_names)."""
        # Sound has a mean squared length of 1 over the training songs, like metadata. Normalising each row
        # would reduce a single column to its sign.
        return self.join_features(self.metadata(catalogue), self.sound(catalogue))

    def join_features(self, metadata: csr_array, sound: NDArray[np.float32]) -> NDArray[np.float32]:
        directions = make_unit_rows(np.asarray(metadata @ self.axes, dtype=np.float32))
        return np.hstack([directions, sound / np.float32(self.length or 1)])


def fit_transform(catalogue: Catalogue, *, seed: int) -> tuple[FeatureSpace, NDArray[np.float32]]:
    tokens, idf, metadata = _fit_tfidf(catalogue)
    columns = numeric_columns(catalogue)
    centres, scales = _medians_and_scales(columns)
    axes = _metadata_axes(metadata, seed)
    space = FeatureSpace(tokens, idf, list(columns), centres, scales, axes, length=1.0)
    sound = space.sound(catalogue)
    squares = (sound.astype(np.float64) ** 2).sum(axis=1)
    space = replace(space, length=float(np.sqrt(squares.mean())) if len(squares) else 0.0)
    return space, space.join_features(metadata, sound)


def weight_content(
    catalogue: Catalogue, space: FeatureSpace, rows: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Content features: metadata and sound side by side; sound has half the weight."""
    axes = space.axes.shape[1]
    # Without audio features, sound is only year and duration, and the decade is already in the metadata.
    if catalogue.audio:
        return make_unit_rows(np.hstack([rows[:, :axes], SOUND_WEIGHT * rows[:, axes:]]))
    return np.ascontiguousarray(rows[:, :axes])


def _fit_tfidf(catalogue: Catalogue) -> tuple[list[str], NDArray[np.float32], csr_array]:
    numbers: dict[str, int] = {}
    counts, all_codes = [], []
    for tokens_of_song in _song_tokens(catalogue):
        counts.append(len(tokens_of_song))
        all_codes.extend([numbers.setdefault(token, len(numbers)) for token in tokens_of_song])
    lengths, codes = np.array(counts, dtype=np.int64), np.array(all_codes, dtype=np.int64)
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
    """L2-normalised TF-IDF rows.

    `indices` is flat: `counts[0]` tokens of song 0, then `counts[1]` of song 1, ...
    """
    rows = np.repeat(np.arange(len(counts)), counts)
    values = idf[indices]
    lengths = np.sqrt(np.bincount(rows, weights=values**2, minlength=len(counts)))
    indptr = np.concatenate([[0], np.cumsum(counts)])
    shape = (len(counts), len(idf))
    return csr_array(((values / lengths[rows]).astype(np.float32), indices, indptr), shape=shape)


def _metadata_axes(metadata: csr_array, seed: int) -> NDArray[np.float32]:
    """Singular vectors / sqrt(singular values): an axis of `metadata @ axes` has the weight sqrt(value)."""
    vectors, values = truncated_svd(metadata, METADATA_AXES, seed=seed)
    return np.asarray(vectors / np.sqrt(np.maximum(values, 1e-12)), dtype=np.float32)


def _song_tokens(catalogue: Catalogue) -> Iterator[list[str]]:
    # Many songs share these texts, and splitting and folding them takes most of the time.
    tokens_of_writers, tokens_of_genres, normalise = map(
        cache, (_writer_tokens, _genre_tokens, _normalise_text)
    )
    for artist, album, writers, genres, year in zip(
        catalogue.artists, catalogue.albums, catalogue.songwriters, catalogue.genres,
        catalogue.release_years.tolist(), strict=True,
    ):  # fmt: skip
        album_name = normalise(album)
        tokens = [f"artist:{key}" for key in catalogue.credits.keys(artist)]
        if album_name:
            # With the artist, because many albums are called "Greatest Hits".
            tokens.append(f"album:{normalise(artist)}/{album_name}")
        tokens += tokens_of_writers(writers)
        tokens += tokens_of_genres(genres)
        if math.isfinite(year):
            tokens.append(f"decade:{int(year) // 10 * 10}")
        yield list(dict.fromkeys(tokens))


def _writer_tokens(text: str) -> list[str]:
    return [f"songwriter:{writer}" for writer in _split_values(text)]


def _genre_tokens(text: str) -> list[str]:
    tokens = []
    for genre in split_genres(_without_opinions(text)):
        tokens.append(f"genre:{fold_key(genre)}")
        tokens += [f"word:{word}" for word in words_of_genre(genre)]
    return tokens


def _fold_token(token: str) -> str:
    """Write a token as `_song_tokens` does; feature spaces of older releases have other spellings."""
    kind, _, value = token.partition(":")
    fold = TOKEN_KEYS.get(kind)
    return f"{kind}:{fold(value)}" if fold else token


def numeric_columns(catalogue: Catalogue) -> dict[str, NDArray[np.float64]]:
    durations = np.where(catalogue.durations > 0, catalogue.durations, np.nan)
    audio = {name: np.asarray(column, dtype=np.float64) for name, column in catalogue.audio.items()}
    return {"year": catalogue.release_years, "duration": np.log(durations), **audio}


def _medians_and_scales(
    columns: Mapping[str, NDArray[np.float64]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    pairs = [_median_and_scale(column[np.isfinite(column)]) for column in columns.values()]
    centres, scales = zip(*pairs, strict=True) if pairs else ((), ())
    return np.array(centres, dtype=np.float64), np.array(scales, dtype=np.float64)


def _median_and_scale(known: NDArray[np.float64]) -> tuple[float, float]:
    if not len(known):
        return 0.0, 0.0
    low, median, high = np.quantile(known, [0.25, 0.5, 0.75])
    # If more than half the songs share one value the IQR is 0, but the column is still informative.
    scale = (high - low) / IQR_OF_NORMAL or float(known.std())
    # The standard deviation of equal values can be a rounding error above 0.
    return float(median), scale if scale > 1e-9 * max(1e-300, float(np.abs(known).max())) else 0.0


def _split_values(text: str) -> Sequence[str]:
    return [value for value in (_normalise_text(part) for part in text.split(",")) if value]


def _normalise_text(text: str) -> str:
    return " ".join(text.casefold().split())


def _without_opinions(text: str) -> str:
    """The genres of a text without profanity, opinions and private notes of those who tagged the songs."""
    return ", ".join(genre for genre in split_genres(text) if not _is_opinion(genre))


@lru_cache(maxsize=100_000)
def _is_opinion(genre: str) -> bool:
    return BUILT_IN_WORDS.has_bad_word(genre)


def genre_vocabulary(texts: Sequence[str]) -> list[str]:
    """Genre words, the most frequent first; ties in alphabetical order."""
    counts: Counter[str] = Counter()
    for text, songs in Counter(texts).items():
        counts.update(dict.fromkeys(genre_words(_without_opinions(text)), songs))
    return sorted(counts, key=lambda word: (-counts[word], word))[:MOST_GENRE_WORDS]


def genre_matrix(texts: Sequence[str], words: Sequence[str]) -> csr_array:
    return genre_rows(texts, word_columns(words), len(words))


def word_columns(words: Sequence[str]) -> dict[str, int]:
    """Each word's column; the first one of a repeated word."""
    columns: dict[str, int] = {}
    for column, word in enumerate(words):
        columns.setdefault(word, column)
    return columns


def genre_rows(texts: Sequence[str], columns: Mapping[str, int], n_words: int) -> csr_array:
    """1 for each genre word of each text, shape (len(texts), n_words).

    Args:
        columns: see `word_columns`.
    """
    of_text = {
        text: [columns[word] for word in genre_words(_without_opinions(text)) if word in columns]
        for text in set(texts)
    }
    rows = [of_text[text] for text in texts]
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int32)
    indices = np.array([column for row in rows for column in row], dtype=np.int32)
    ones = np.ones(len(indices), dtype=np.float32)
    return csr_array((ones, indices, indptr), shape=(len(texts), n_words))


def fold_stored_words(words: Sequence[str]) -> list[str]:
    """Fold genre words of older releases, which stored "hip hop" for "hiphop"."""
    return [fold_key(word) for word in words]


def genre_idf(genres: csr_array) -> NDArray[np.float32]:
    """Inverse document frequency of each genre word: log(1 + songs / songs with the word)."""
    counts = np.bincount(genres.indices, minlength=genres.shape[1])
    return np.asarray(np.log1p(genres.shape[0] / np.maximum(counts, 1)), dtype=np.float32)


def space_to_arrays(space: FeatureSpace) -> dict[str, NDArray[Any]]:
    """The artifact arrays of a feature space; words are UTF-8 bytes and their end offsets."""
    arrays = {f"{SPACE_PREFIX}{name}": getattr(space, name) for name in SPACE_NUMERIC_ARRAYS}
    for name in ("tokens", "names"):
        words = [word.encode("utf-8", "surrogatepass") for word in getattr(space, name)]
        arrays[f"{SPACE_PREFIX}{name}"] = np.frombuffer(b"".join(words), dtype=np.uint8)
        arrays[f"{SPACE_PREFIX}{name}_ends"] = np.cumsum([len(word) for word in words], dtype=np.int64)
    arrays[f"{SPACE_PREFIX}length"] = np.array([space.length], dtype=np.float64)
    return arrays


def space_from_arrays(arrays: Mapping[str, NDArray[Any]]) -> FeatureSpace | None:
    if f"{SPACE_PREFIX}length" not in arrays:
        return None
    numeric = {name: np.asarray(arrays[f"{SPACE_PREFIX}{name}"]) for name in SPACE_NUMERIC_ARRAYS}
    return FeatureSpace(
        tokens=_unpack_words(arrays, "tokens"), names=_unpack_words(arrays, "names"),
        length=float(arrays[f"{SPACE_PREFIX}length"][0]), **numeric,
    )  # fmt: skip


def _unpack_words(arrays: Mapping[str, NDArray[Any]], name: str) -> list[str]:
    text = np.asarray(arrays[f"{SPACE_PREFIX}{name}"]).tobytes()
    ends = np.asarray(arrays[f"{SPACE_PREFIX}{name}_ends"]).tolist()
    return [
        text[start:end].decode("utf-8", "surrogatepass") for start, end in zip([0, *ends], ends, strict=False)
    ]
