"""Feedback heard: songs that listeners place elsewhere are assigned anew, where held-out votes agree."""

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recommender import catalogue_generation
from recommender.engine.clustering.feedback_assignment import Gain, Refined, Votes, held_out_gain, refine
from recommender.engine.clustering.kmeans import centres_of
from recommender.engine.mix.fit import regrouped
from recommender.engine.mix.model import Mix
from recommender.listener_profiles import LEAST_LISTEN, columns_of
from recommender.models import Feedback, ModelVersion, SongEvidence
from recommender.training.clusters import Group, points_of
from recommender.training.dataset import TrainingData

Kind = Feedback.Kind
FOR: Final = {Kind.LIKE, Kind.LISTEN}
MOST_ASKED: Final = 200  # songs whose evidence is kept though they stay: those that most need an opinion


@dataclass(frozen=True)
class Heard:
    """A model with feedback heard.

    Attributes:
        by_sound: shape (n_songs,), the groups without feedback: what the next refresh goes on from, so that
            deleting votes restores every assignment.
        refined: what the votes say, also where it would not have held and nothing moves; None: nobody has
            said anything.
        gain: of held-out votes.
    """

    model: Mix
    by_sound: NDArray[np.int32]
    refined: Refined | None = None
    gain: Gain | None = None

    def rows(
        self, version: ModelVersion, song_ids: NDArray[np.int64], groups: list[Group]
    ) -> list[SongEvidence]:
        """The songs that moved, and those that most need an opinion."""
        refined = self.refined
        if refined is None:
            return []
        asked = np.isin(refined.songs, refined.uncertain(MOST_ASKED))
        numbers = {group.position: group.number for group in groups}
        return [
            SongEvidence(
                version=version, song_id=int(song_ids[refined.songs[at]]),
                before=numbers[int(self.by_sound[refined.songs[at]])],
                after=numbers[int(self.model.labels[refined.songs[at]])],
                listeners=int(refined.listeners[at]), log_odds=round(float(refined.odds[at]), 4),
                margin=round(float(refined.margin[at]), 4),
            )
            for at in np.flatnonzero(refined.moves | asked).tolist()
        ]  # fmt: skip


def hear(model: Mix, data: TrainingData, seed: int) -> Heard:
    """Refine the model's groups by feedback, if votes that were held out are likelier then."""
    by_sound = model.labels
    votes = read_votes(data)
    if not len(votes.songs):
        return Heard(model, by_sound)
    points = points_of(model)
    centers = centres_of(points, by_sound, model.parts.n_clusters)[0]
    half = np.random.default_rng(seed).random(len(votes.songs)) < 0.5
    tried = refine(_part(votes, half), points, centers, by_sound).labels(by_sound)
    gain = held_out_gain(_part(votes, ~half), by_sound, tried, model.parts.n_clusters)
    refined = refine(votes, points, centers, by_sound)
    if not gain.is_sure:
        return Heard(model, by_sound, refined, gain)
    return Heard(regrouped(model, refined.labels(by_sound)), by_sound, refined, gain)


def read_votes(data: TrainingData) -> Votes:
    """What listeners said of songs, one entry a listener and song; likes and listens speak for it."""
    counts: dict[tuple[int, int], list[float]] = defaultdict(lambda: [0.0, 0.0])
    rows = catalogue_generation.said_of_it(
        Feedback.objects.exclude(kind=Kind.LISTEN, seconds__lt=LEAST_LISTEN)
    )
    for listener, song, kind in rows.values_list("listener_id", "song_id", "kind").iterator():
        entry = counts[listener, song]
        entry[0] += kind in FOR
        entry[1] += 1.0
    pairs = np.array(list(counts), dtype=np.int64).reshape(-1, 2)
    values = np.array(list(counts.values()), dtype=np.float64).reshape(-1, 2)
    columns, known = columns_of(data.catalogue.ids, pairs[:, 1])
    return Votes(pairs[known, 0], columns[known], values[known, 0], values[known, 1])


def _part(votes: Votes, chosen: NDArray[np.bool_]) -> Votes:
    return replace(
        votes, listeners=votes.listeners[chosen], songs=votes.songs[chosen], likes=votes.likes[chosen],
        plays=votes.plays[chosen],
    )  # fmt: skip
