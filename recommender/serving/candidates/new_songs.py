"""New songs: those with hardly a listener, and those that arrived after the training.

Both are placed by content as soon as a run has ended.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingestion.models import Song, numeric_features
from recommender.engine.algorithms.base import expand_ranges
from recommender.engine.data import NOT_IN_MODEL, Catalogue, NewSongRanker, NewSongs
from recommender.engine.identity.credits import ArtistCredits, artist_key
from recommender.engine.identity.text import has_text
from recommender.engine.mix.scoring import top_places
from recommender.engine.song_columns import find_columns
from recommender.engine.song_identity import SongIdentity, identify_songs, join_identities
from recommender.listener_profiles import ListenerProfile
from recommender.models import sql
from recommender.models.naming import read_genre_names
from recommender.registry.model_loader import FileSignature, ServingModel
from recommender.serving.candidates.listener_block import ListenerBlock, ListenerSongs, repeat_listeners

# Songs that came after the training; the highest ids of more. A weekly training keeps the number small.
MAX_ARRIVED: Final = 2_000
MAX_CATALOGUES: Final = 4  # the champion and the challengers of a process


@dataclass(frozen=True)
class NewSongCatalogue:
    """A model's new songs after one ingestion run; entry i of every array is the same song."""

    ids: NDArray[np.int64]  # song ids
    has_arrived: NDArray[np.bool_]  # True for songs that came after the training
    identity: SongIdentity  # codes of artists and recordings, by place in this catalogue
    songs: NewSongs
    ranker: NewSongRanker


class RankedNewSongs(NamedTuple):
    """New songs of several listeners, by listener, best first; equally long arrays."""

    listeners: NDArray[np.intp]
    places: NDArray[np.intp]  # in the catalogue
    values: NDArray[np.float32]


_lock = threading.Lock()
# By the files of a version: the run, and the new songs after it.
_catalogues: dict[FileSignature, tuple[int, NewSongCatalogue | None]] = {}


def new_songs_of(model: ServingModel, run_id: int) -> NewSongCatalogue | None:
    """The model's new songs after a run; None if there are none or the model can't place them.

    Cached for each version: a process reads and places the songs once a run.
    """
    key = model.signature
    found = _catalogues.get(key)
    if found is None or found[0] != run_id:
        with _lock:
            found = _catalogues.get(key)
            if found is None or found[0] != run_id:
                _catalogues.pop(key, None)
                while len(_catalogues) >= MAX_CATALOGUES:
                    del _catalogues[next(iter(_catalogues))]
                found = _catalogues[key] = (run_id, _collect(model))
    return found[1]


def rank_new_songs(
    catalogue: NewSongCatalogue, block: ListenerBlock, listed: ListenerSongs, n: int
) -> RankedNewSongs:
    """The n songs that suit each listener best.

    Left out are played, skipped and excluded songs, their copies, and songs that arrived as copies of a
    listed song.
    """
    allowed = _open_songs(catalogue, block)
    recordings, model_recordings = catalogue.identity.recordings, block.model.identity.recordings
    closed = np.zeros_like(allowed)
    if catalogue.has_arrived.any():
        _mark_equal(closed, listed.listeners, model_recordings[listed.columns], recordings)
        closed &= catalogue.has_arrived
    _mark_equal(closed, block.closed.listeners, model_recordings[block.closed.columns], recordings)
    values = catalogue.ranker.rank(block.rows, catalogue.songs, allowed & ~closed)
    best = []
    for of_listener in values:
        places = np.flatnonzero(np.isfinite(of_listener))
        best.append(places[top_places(of_listener[places], n)])
    listeners, places = repeat_listeners(best), np.concatenate(best)
    return RankedNewSongs(listeners, places, values[listeners, places])


def songs_by_played_artists(
    catalogue: NewSongCatalogue, profile: ListenerProfile, model: ServingModel
) -> RankedNewSongs:
    """New songs by artists that the listener plays, the most played first, then the highest id.

    Values are the artists' shares of the listener's plays, weighted by recency.
    """
    block = ListenerBlock([profile], model)
    plays = block.rows.plays if block.rows.recent is None else block.rows.recent
    artists, codes = model.scorer.artists, catalogue.songs.artists
    by_artist = np.asarray(np.bincount(artists[plays.indices], plays.data, int(artists.max(initial=-1)) + 1))
    shares = by_artist / max(float(by_artist.sum()), 1e-12)
    values = np.where((codes < 0) | ~_open_songs(catalogue, block)[0], 0, shares[codes])
    places = np.flatnonzero(values > 0)
    best = places[np.lexsort((-catalogue.ids[places], -values[places]))]
    return RankedNewSongs(np.zeros(len(best), dtype=np.intp), best, values[best].astype(np.float32))


def _open_songs(catalogue: NewSongCatalogue, block: ListenerBlock) -> NDArray[np.bool_]:
    """Which songs each listener has neither played, skipped nor excluded, shape (n_listeners, n_songs)."""
    closed = [
        np.concatenate([
            profile.songs, profile.excluded_ids, profile.skipped,
            np.array(list(profile.excluded_clusters), dtype=np.int64),
        ])
        for profile in block.profiles
    ]  # fmt: skip
    is_closed = np.zeros((block.n, len(catalogue.ids)), dtype=np.bool_)
    _mark_equal(is_closed, repeat_listeners(closed), np.concatenate(closed), catalogue.ids)
    return ~is_closed


def _mark_equal(
    mask: NDArray[np.bool_],
    listeners: NDArray[np.intp],
    values: NDArray[np.int64],
    of_songs: NDArray[np.int64],
) -> None:
    """Set the mask for each listener's songs whose value is one of the listener's values.

    Args:
        mask: shape (n_listeners, n_songs).
        of_songs: each song's value, shape (n_songs,).
    """
    order = np.argsort(of_songs, kind="stable")
    ordered = of_songs[order]
    starts = np.searchsorted(ordered, values, side="left")
    widths = np.searchsorted(ordered, values, side="right") - starts
    mask[np.repeat(listeners, widths), order[expand_ranges(starts, widths)]] = True


def build_catalogue(songs: Sequence[Song], audio_names: Sequence[str]) -> Catalogue:
    """A catalogue with exactly the named audio features; NaN for missing values."""
    audio = [numeric_features(song.audio_features) for song in songs]
    years = [np.nan if song.release_year is None else song.release_year for song in songs]
    return Catalogue(
        ids=np.array([song.pk for song in songs], dtype=np.int64),
        artists=[song.artist for song in songs], albums=[song.album for song in songs],
        songwriters=[song.songwriters for song in songs],
        genres=read_genre_names().normalise_all(song.genres for song in songs),
        release_years=np.array(years, dtype=np.float64),
        durations=np.array([song.duration.total_seconds() for song in songs], dtype=np.float64),
        audio={name: _feature_column(audio, name) for name in audio_names},
        available=np.ones(len(songs), dtype=np.bool_), titles=[song.name for song in songs],
    )  # fmt: skip


def _feature_column(audio: Sequence[dict[str, float]], name: str) -> NDArray[np.float64]:
    return np.array([features.get(name, np.nan) for features in audio], dtype=np.float64)


def _collect(model: ServingModel) -> NewSongCatalogue | None:
    ranker = model.scorer.new_song_ranker
    if ranker is None:
        return None
    arrived = _read_arrived(model)
    artists = _artist_codes(model, arrived)
    catalogue = build_catalogue(arrived, ranker.audio_names)
    songs = ranker.place(catalogue, artists)
    has_arrived = songs.columns == NOT_IN_MODEL
    own = songs.columns[~has_arrived]
    ids = np.concatenate([model.song_ids[own], [song.pk for song in arrived]]).astype(np.int64)
    identity = join_identities(model.identity.select(own), identify_songs(catalogue))
    return NewSongCatalogue(ids, has_arrived, identity, songs, ranker) if len(ids) else None


def _read_arrived(model: ServingModel) -> list[Song]:
    """Available songs that the model does not know, by id."""
    # Songs are never deleted, so an equal number means equal songs.
    if Song.objects.count() == len(model.song_ids):
        return []
    ids = np.fromiter(Song.objects.order_by("pk").values_list("pk", flat=True).iterator(), dtype=np.int64)
    _, known = find_columns(model.song_ids, ids)
    arrived = Song.objects.filter(pk__in=sql.ids_as_one_parameter(ids[~known].tolist()), unavailable_at=None)
    newest = arrived.exclude(name="").exclude(artist="").order_by("-pk")[:MAX_ARRIVED]
    named = [song for song in newest if has_text(song.name) and has_text(song.artist)]
    return sorted(named, key=lambda song: song.pk)


def _artist_codes(model: ServingModel, arrived: Sequence[Song]) -> NDArray[np.int32]:
    """Codes of lead artists; negative and distinct for artists that the model does not know."""
    credited = ArtistCredits(song.artist for song in arrived)
    leads = [credited.lead(song.artist) for song in arrived]
    by_artist = [(lead, song.artist) for lead, song in zip(leads, arrived, strict=True) if lead]
    names = {name for pair in by_artist for name in pair}
    codes: dict[str, int] = {}
    for pk, artist in Song.objects.filter(artist__in=names).values_list("pk", "artist"):
        column = model.column_of(pk)
        if column is not None:
            codes[artist_key(credited.lead(artist))] = int(model.scorer.artists[column])
    # Songs without an artist have nothing in common.
    keys = [artist_key(lead) or f"\0{song.pk}" for lead, song in zip(leads, arrived, strict=True)]
    for number, key in enumerate(dict.fromkeys(keys), 1):
        codes.setdefault(key, -number)
    return np.array([codes[key] for key in keys], dtype=np.int32)
