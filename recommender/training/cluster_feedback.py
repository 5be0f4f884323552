"""Moves songs between clusters by listeners' feedback, if held-out votes confirm the moves."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recommender.engine.clustering.feedback_assignment import (
    FeedbackAssignment,
    FeedbackVotes,
    LikelihoodGain,
    assign_by_feedback,
    held_out_gain,
)
from recommender.engine.clustering.nearest_centers import cluster_means
from recommender.engine.feedback_state import EventKind
from recommender.engine.mix.fit import with_clusters
from recommender.engine.mix.model import MixModel
from recommender.engine.song_columns import find_columns
from recommender.models import ModelVersion, SongEvidence
from recommender.training.clusters import ClusterSummary, cluster_points
from recommender.training.dataset import TrainingData, read_events

POSITIVE_KINDS: Final = (EventKind.LIKE, EventKind.LISTEN)
# Evidence is also stored for this many songs that do not move, those with the least certain assignment.
MAX_UNCERTAIN_SONGS: Final = 200


@dataclass(frozen=True)
class AppliedVotes:
    model: MixModel
    # Each song's cluster before feedback, shape (n_songs,). The next warm start continues these clusters, so
    # that deleting votes restores every assignment.
    labels_without_feedback: NDArray[np.int32]
    # The assignment by all votes, even if held-out votes did not confirm it; None without votes.
    assignment: FeedbackAssignment | None = None
    gain: LikelihoodGain | None = None  # log-likelihood gain of the held-out votes; None without votes

    def evidence_rows(
        self, version: ModelVersion, song_ids: NDArray[np.int64], clusters: list[ClusterSummary]
    ) -> list[SongEvidence]:
        assignment = self.assignment
        if assignment is None:
            return []
        uncertain = np.isin(assignment.songs, assignment.least_certain_songs(MAX_UNCERTAIN_SONGS))
        numbers = {cluster.position: cluster.number for cluster in clusters}
        return [
            SongEvidence(
                version=version, song_id=int(song_ids[assignment.songs[at]]),
                before=numbers[int(self.labels_without_feedback[assignment.songs[at]])],
                after=numbers[int(self.model.labels[assignment.songs[at]])],
                listeners=int(assignment.listeners[at]), log_odds=round(float(assignment.log_odds[at]), 4),
                margin=round(float(assignment.margin[at]), 4),
            )
            for at in np.flatnonzero(assignment.moves | uncertain).tolist()
        ]  # fmt: skip


def apply_votes(model: MixModel, data: TrainingData, seed: int) -> AppliedVotes:
    """Move songs by feedback, if moves from one half of the votes fit the other half better."""
    labels = model.labels
    votes = read_votes(data)
    if not len(votes.songs):
        return AppliedVotes(model, labels)
    points = cluster_points(model)
    n_clusters = model.components.n_clusters
    centers = cluster_means(points, labels, n_clusters)[0]
    half = np.random.default_rng(seed).random(len(votes.songs)) < 0.5
    trial = assign_by_feedback(votes.select(half), points, centers, labels).apply_moves(labels)
    gain = held_out_gain(votes.select(~half), labels, trial, n_clusters)
    assignment = assign_by_feedback(votes, points, centers, labels)
    if gain.is_significant:
        model = with_clusters(model, assignment.apply_moves(labels))
    return AppliedVotes(model, labels, assignment, gain)


def read_votes(data: TrainingData) -> FeedbackVotes:
    """Votes from events that count, one per listener and song, by listener.

    Likes and listens are positive.
    """
    events = read_events(data.catalogue.durations, data.catalogue.ids)
    columns, known = find_columns(data.catalogue.ids, events.songs)
    chosen = events.counts & known
    _, rows = np.unique(events.listeners[chosen], return_inverse=True)
    # One number per pair, so that sorting needs one column.
    pairs, vote_of = np.unique(rows * data.catalogue.n_songs + columns[chosen], return_inverse=True)
    likes = np.bincount(vote_of, np.isin(events.kinds[chosen], POSITIVE_KINDS), len(pairs))
    listener_rows, songs = np.divmod(pairs, max(1, data.catalogue.n_songs))
    # Small types: 16 bytes a vote. `float32` holds whole numbers up to 16 million exactly.
    return FeedbackVotes(
        listener_rows.astype(np.int32), songs.astype(np.int32), likes.astype(np.float32),
        np.bincount(vote_of, minlength=len(pairs)).astype(np.float32),
    )  # fmt: skip
