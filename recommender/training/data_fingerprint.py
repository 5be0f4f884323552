"""Whether there is anything new to learn: listening, feedback, songs, or what is said of them."""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

import numpy as np

from recommender.engine.data import Catalogue, EngineError
from recommender.models import ModelVersion
from recommender.training.dataset import TrainingData

# Where a version's configuration keeps the digest of what it has learnt from.
FINGERPRINT_KEY: Final = "learnt_from"


class NothingNew(EngineError):
    """The newest version has learnt from the same, the same way."""


def compute_fingerprint(data: TrainingData) -> str:
    """32 hexadecimal digits: the same for the same songs, listeners, listening and feedback.

    A song that was put right changes it, and so does one that is gone; a song's name does not, for nothing
    is learnt from names. 200 000 songs and a million plays take .1 s.
    """
    found = blake2b(digest_size=16)
    for part in (*_catalogue_parts(data.catalogue), data.listener_ids.tobytes(), _encode_texts(data.genres)):
        found.update(part)
    for plays in (data.plays, data.skips):
        for column in (plays.listeners, plays.songs, plays.at, plays.count):
            found.update(np.ascontiguousarray(column).tobytes())
    return found.hexdigest()


def require_new_data(
    data: TrainingData, *, method: str, seed: int, n_clusters: int | None, full: bool
) -> None:
    """Let only pass what the newest version that was made this way does not know.

    Raises:
        NothingNew: it has learnt from the same.
    """
    newest = ModelVersion.objects.filter(method=method, seed=seed).first()
    if newest is None or newest.configuration.get("n_clusters") != n_clusters:
        return
    if full and newest.parent_id:
        # A refresh carried its groups on; to begin afresh is another way to learn from the same.
        return
    if _was_trained_on(newest, data):
        raise NothingNew(
            f"Nothing has come in since {newest.label}, which has learnt up to "
            f"{newest.cut_off:%Y-%m-%d %H:%M} UTC. Without --if-new it is learnt again."
        )


def _was_trained_on(version: ModelVersion, data: TrainingData) -> bool:
    digest = version.configuration.get(FINGERPRINT_KEY)
    if digest is not None:
        return bool(digest == compute_fingerprint(data))
    # Of a release that kept no digest.
    known = (version.n_songs, version.n_listeners, version.n_plays, version.cut_off)
    return known == (data.catalogue.n_songs, data.n_active_listeners, data.n_plays, data.cut_off)


def _catalogue_parts(catalogue: Catalogue) -> Iterable[bytes]:
    yield catalogue.ids.tobytes()
    for texts in (catalogue.artists, catalogue.albums, catalogue.songwriters, catalogue.genres):
        yield _encode_texts(texts)
    for column in (catalogue.release_years, catalogue.durations, catalogue.available):
        yield np.ascontiguousarray(column).tobytes()
    for name, values in catalogue.audio.items():
        yield _encode_texts([name])
        yield np.ascontiguousarray(values).tobytes()


def _encode_texts(texts: list[str]) -> bytes:
    # A unit separator, which no text of people holds; lone surrogates can come from SQLite.
    return "\x1f".join([*texts, "\x1e"]).encode("utf-8", "surrogatepass")
