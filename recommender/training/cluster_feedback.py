"""Feedback heard: songs that listeners place elsewhere are assigned anew, where held-out votes agree."""

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recommender import catalogue_generation
from recommender.engine.clustering.feedback_assignment import (
    FeedbackAssignment,
    FeedbackVotes,
    LikelihoodGain,
    assign_by_feedback,
    held_out_gain,
)
from recommender.engine.clustering.kmeans import cluster_means
from recommender.engine.mix.fit import with_clusters
from recommender.engine.mix.model import MixModel
from recommender.listener_profiles import MIN_LISTEN_SECONDS, find_columns
from recommender.models import Feedback, ModelVersion, SongEvidence
from recommender.training.clusters import ClusterSummary, cluster_points
from recommender.training.dataset import TrainingData

FeedbackKind = Feedback.Kind
POSITIVE_KINDS: Final = {FeedbackKind.LIKE, FeedbackKind.LISTEN}
MAX_UNCERTAIN_SONGS: Final = (
    200  # songs whose evidence is kept though they stay: those that most need an opinion
)


@dataclass(frozen=True)
class AppliedVotes:
    """A model with feedback heard.

    Attributes:
        by_sound: shape (n_songs,), the groups without feedback: what the next refresh goes on from, so that
            deleting votes restores every assignment.
        refined: what the votes say, also where it would not have held and nothing moves; None: nobody has
            said anything.
        gain: of held-out votes.
    """

    model: MixModel
    labels_without_feedback: NDArray[np.int32]
    assignment: FeedbackAssignment | None = None
    gain: LikelihoodGain | None = None

    def evidence_rows(
        self, version: ModelVersion, song_ids: NDArray[np.int64], clusters: list[ClusterSummary]
    ) -> list[SongEvidence]:
        """The songs that moved, and those that most need an opinion."""
        refined = self.assignment
        if refined is None:
            return []
        asked = np.isin(refined.songs, refined.least_certain_songs(MAX_UNCERTAIN_SONGS))
        numbers = {group.position: group.number for group in clusters}
        return [
            SongEvidence(
                version=version, song_id=int(song_ids[refined.songs[at]]),
                before=numbers[int(self.labels_without_feedback[refined.songs[at]])],
                after=numbers[int(self.model.labels[refined.songs[at]])],
                listeners=int(refined.listeners[at]), log_odds=round(float(refined.log_odds[at]), 4),
                margin=round(float(refined.margin[at]), 4),
            )
            for at in np.flatnonzero(refined.moves | asked).tolist()
        ]  # fmt: skip


def apply_votes(model: MixModel, data: TrainingData, seed: int) -> AppliedVotes:
    """Refine the model's groups by feedback, if votes that were held out are likelier then."""
    by_sound = model.labels
    votes = read_votes(data)
    if not len(votes.songs):
        return AppliedVotes(model, by_sound)
    points = cluster_points(model)
    centers = cluster_means(points, by_sound, model.components.n_clusters)[0]
    half = np.random.default_rng(seed).random(len(votes.songs)) < 0.5
    tried = assign_by_feedback(_select_votes(votes, half), points, centers, by_sound).apply_moves(by_sound)
    gain = held_out_gain(_select_votes(votes, ~half), by_sound, tried, model.components.n_clusters)
    refined = assign_by_feedback(votes, points, centers, by_sound)
    if not gain.is_significant:
        return AppliedVotes(model, by_sound, refined, gain)
    return AppliedVotes(with_clusters(model, refined.apply_moves(by_sound)), by_sound, refined, gain)


def read_votes(data: TrainingData) -> FeedbackVotes:
    """What listeners said of songs, one entry a listener and song; likes and listens speak for it."""
    counts: dict[tuple[int, int], list[float]] = defaultdict(lambda: [0.0, 0.0])
    rows = catalogue_generation.feedback_on_current(
        Feedback.objects.exclude(kind=FeedbackKind.LISTEN, seconds__lt=MIN_LISTEN_SECONDS)
    )
    for listener, song, kind in rows.values_list("listener_id", "song_id", "kind").iterator():
        entry = counts[listener, song]
        entry[0] += kind in POSITIVE_KINDS
        entry[1] += 1.0
    pairs = np.array(list(counts), dtype=np.int64).reshape(-1, 2)
    values = np.array(list(counts.values()), dtype=np.float64).reshape(-1, 2)
    columns, known = find_columns(data.catalogue.ids, pairs[:, 1])
    return FeedbackVotes(pairs[known, 0], columns[known], values[known, 0], values[known, 1])


def _select_votes(votes: FeedbackVotes, chosen: NDArray[np.bool_]) -> FeedbackVotes:
    return replace(
        votes, listeners=votes.listeners[chosen], songs=votes.songs[chosen], likes=votes.likes[chosen],
        plays=votes.plays[chosen],
    )  # fmt: skip
