"""What is put on a listener's shelf: the model's best candidates, or the charts for want of a model."""

from datetime import datetime, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ingestion.models import Song
from recommender.engine.sampling import sampler
from recommender.engine.sampling.candidate_codec import Shelf
from recommender.listener_profiles import Known, columns_of
from recommender.registry.model_loader import Model
from recommender.serving import non_personalized
from recommender.serving.list_sampler import COLD, FAMILIAR, NO_CLUSTER, RESURFACED

SIZE: Final = 400
# Some of them are heard again, if it was long ago; shown only to who asks for little that is new.
MOST_RESURFACED: Final = 50
RESURFACE_AFTER: Final = timedelta(days=60)
# Without it a listener of three artists has a shelf of three artists, and six songs a list at two each.
MOST_AN_ARTIST: Final = 10
LOOKED_AT: Final = 3 * SIZE
# A favourite genre is worth as much as all the fame there is, whose logarithm runs from 0 to 1.
FAVORITE_GENRE: Final = 1.0
SONGS_REMEMBERED: Final = 1_000

Columns = NDArray[np.int32]
Scores = NDArray[np.float64]


def stock(known: Known, model: Model | None, now: datetime) -> Shelf:
    """One listener's candidates, best first: none that was heard (but for some, long ago) or is barred."""
    return (by_model(known, model, now) if model else None) or by_popularity(known, model, now)


def by_model(known: Known, model: Model, now: datetime) -> Shelf | None:
    """The candidates that the model puts first; None where it can say nothing of a listener without plays."""
    profile = known.profile(model.song_ids)
    found = model.learnt.candidates(profile, n=LOOKED_AT)
    if not len(found.songs) and not profile.plays.nnz:
        return None
    fit = ~_refused(known, model, found.songs)
    songs, scores = found.songs[fit], found.scores[fit].astype(np.float64)
    best = np.flatnonzero(first_of_each(model.learnt.artists[songs], MOST_AN_ARTIST))[:SIZE]
    return _shelf(known, model, songs[best], scores[best], now)


def _shelf(known: Known, model: Model, songs: Columns, scores: Scores, now: datetime) -> Shelf:
    profile = known.profile(model.song_ids)
    old_songs, old_scores = resurfaced(known, model, now)
    low, spread = sampler.scale(scores)  # of what is new alone: old songs move nothing
    columns = np.concatenate([songs, old_songs])
    values = (np.concatenate([scores, old_scores]) - low) / spread
    is_old = np.arange(len(columns)) >= len(songs)
    # A model may like all alike: then what is heard again comes in between, evenly.
    places = np.concatenate([np.arange(len(songs)), np.linspace(0, len(songs), len(old_songs))])
    order = np.lexsort((places, -values))[:SIZE]
    columns = columns[order]
    learnt = model.learnt
    artists = learnt.artists[columns]
    played = np.unique(learnt.artists[profile.plays.indices])
    flags = np.where(np.isin(artists, played), FAMILIAR, 0) | (RESURFACED * is_old[order])
    return Shelf(
        songs=model.song_ids[columns],
        values=values[order].astype(np.float32),
        clusters=model.numbers[learnt.labels[columns]],
        artists=artists,
        flags=(flags | (0 if profile.plays.nnz else COLD)).astype(np.uint8),
        affinities=model.shares(profile),
    )


def resurfaced(known: Known, model: Model, now: datetime) -> tuple[Columns, Scores]:
    """Songs to be heard again, and the model's scores: those played most, of those not heard for sixty days.

    None was skipped or is barred. They are scored as if they had never been heard, by all else that was.
    """
    is_long_ago = known.heard_at < (now - RESURFACE_AFTER).timestamp()
    unwanted = np.isin(known.songs, [*known.barred, *known.skipped.tolist()])
    places = np.flatnonzero(is_long_ago & ~unwanted)
    places = places[np.lexsort((places, -known.plays[places]))][:MOST_RESURFACED]
    found, there = columns_of(model.song_ids, known.songs[places])
    columns: Columns = np.sort(found[there]).astype(np.int32)
    columns = columns[model.learnt.available[columns] & ~_refused(known, model, columns)]
    if not len(columns):
        return columns, np.empty(0)
    scores = model.learnt.score(known.without(known.songs[places]).profile(model.song_ids), columns)
    return columns, scores.astype(np.float64)


def by_popularity(known: Known, model: Model | None, now: datetime) -> Shelf:
    """What is played most, favourite genres first; in the model's clusters, where there is one."""
    closed = known.barred | known.refused.keys() | set(known.songs.tolist())
    rows = [row for row in non_personalized.charts_and_new_songs(now) if row.song not in closed]
    fame = np.log1p([row.plays for row in rows])
    liked = [bool(non_personalized.shared_genre(row.genres, known.genres)) for row in rows]
    scores = fame / max(1e-9, fame.max(initial=0.0)) + FAVORITE_GENRE * np.array(liked, dtype=np.float64)
    order = np.lexsort((np.arange(len(rows)), -scores))
    codes: dict[str, int] = {}
    artists = np.array(
        [codes.setdefault(row.artist.casefold().strip() or f"\0{row.song}", len(codes)) for row in rows],
        dtype=np.int32,
    )
    best = order[first_of_each(artists[order], MOST_AN_ARTIST)][:SIZE]
    played = _artists_played(known)
    familiar = [rows[place].artist in played for place in best]
    songs = np.array([rows[place].song for place in best], dtype=np.int64)
    nowhere = np.full(len(songs), NO_CLUSTER, dtype=np.int32)
    return Shelf(
        songs=songs,
        values=sampler.values(scores[best]).astype(np.float32),
        clusters=model.numbers_of(songs, otherwise=NO_CLUSTER) if model else nowhere,
        artists=artists[best],
        flags=np.where(familiar, COLD | FAMILIAR, COLD).astype(np.uint8),
        affinities={},
    )


def _artists_played(known: Known) -> set[str]:
    """Artists of the songs that were heard last."""
    latest = known.songs[np.argsort(-known.heard_at, kind="stable")][:SONGS_REMEMBERED]
    return set(Song.objects.filter(pk__in=latest.tolist()).values_list("artist", flat=True))


def first_of_each(groups: NDArray[np.integer], most: int) -> NDArray[np.bool_]:
    """Shape of `groups`: True for the first `most` entries of each group."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(groups) else order
    sizes = np.diff(np.r_[starts, len(groups)])
    within = np.empty(len(groups), dtype=np.bool_)
    within[order] = np.arange(len(groups)) - np.repeat(starts, sizes) < most
    return within


def _refused(known: Known, model: Model, columns: Columns) -> NDArray[np.bool_]:
    """Which songs were said not to belong where the model has them."""
    refused = np.zeros(len(columns), dtype=np.bool_)
    if known.refused:
        numbers = model.numbers[model.learnt.labels[columns]].tolist()
        pairs = zip(model.song_ids[columns].tolist(), numbers, strict=True)
        for place, (song, number) in enumerate(pairs):
            refused[place] = song in known.refused and known.refused[song] in {None, number}
    return refused
