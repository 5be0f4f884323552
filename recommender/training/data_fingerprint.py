"""Fingerprint of all training data: whether the newest version used the same."""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

import numpy as np

from recommender.engine.data import Catalogue, EngineError
from recommender.models import ModelVersion
from recommender.training.dataset import TrainingData

# Stored key of a version's configuration.
FINGERPRINT_KEY: Final = "learnt_from"


class NothingNew(EngineError):
    """The newest version was trained on the same data in the same way."""


def compute_fingerprint(data: TrainingData) -> str:
    """A fingerprint, 32 hexadecimal digits, that is equal for equal songs, listeners, plays and feedback."""
    # The fingerprint changes if a song is corrected or removed, but not if only its name changes, because
    # no model uses names. 200 000 songs and a million plays take 0.1 s.
    digest = blake2b(digest_size=16)
    for part in (*_catalogue_parts(data.catalogue), data.listener_ids.tobytes(), _encode_texts(data.genres)):
        digest.update(part)
    for plays in (data.plays, data.skips):
        for column in (plays.listeners, plays.songs, plays.at, plays.count):
            digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()


def require_new_data(
    data: TrainingData, *, method: str, seed: int, n_clusters: int | None, full: bool
) -> None:
    """Raise `NothingNew` if a training would repeat the newest version with this method and seed."""
    newest = ModelVersion.objects.filter(method=method, seed=seed, files_deleted_at=None).first()
    if newest is None or newest.configuration.get("n_clusters") != n_clusters:
        return
    if full and newest.parent_id:
        # The newest version was a warm start; a full training on the same data gives a different model.
        return
    if _was_trained_on(newest, data):
        raise NothingNew(
            f"There is no new data since {newest.label}, which was trained on data up to "
            f"{newest.cut_off:%Y-%m-%d %H:%M} UTC. To train again anyway, leave out --if-new."
        )


def _was_trained_on(version: ModelVersion, data: TrainingData) -> bool:
    digest = version.configuration.get(FINGERPRINT_KEY)
    if digest is not None:
        return bool(digest == compute_fingerprint(data))
    # A release without fingerprints stored this version.
    counts = (version.n_songs, version.n_listeners, version.n_plays, version.cut_off)
    return counts == (data.catalogue.n_songs, data.n_active_listeners, data.n_plays, data.cut_off)


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
    # People's texts do not contain the unit separator. SQLite can return lone surrogates.
    return "\x1f".join([*texts, "\x1e"]).encode("utf-8", "surrogatepass")
