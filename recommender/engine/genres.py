"""Genres as words, of songs and of listeners alike, so that a favourite genre finds its songs."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

MOST_WORDS = 5_000  # the most frequent ones; a source of random words must not fill the memory


def vocabulary(texts: Sequence[str]) -> list[str]:
    """The words of the texts, most frequent first, then by alphabet; at most 5 000."""
    counts = Counter(word for text in texts for word in genre_words(text))
    return sorted(counts, key=lambda word: (-counts[word], word))[:MOST_WORDS]


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
