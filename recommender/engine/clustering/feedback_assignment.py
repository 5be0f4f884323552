"""Moves songs between clusters by listeners' feedback.

Songs without votes stay in their K-means cluster, so deleting the feedback undoes every move.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

PRIOR_PLAYS: Final = 4.0  # pseudo-plays with the overall like rate, added to a listener's plays in a cluster
PRIOR_SONG: Final = (
    10.0  # pseudo-plays added to each song: a song liked everywhere fits every cluster equally
)
MOST_VOTES: Final = 5.0  # votes counted per listener and song
FEWEST_LISTENERS: Final = 5
LEAST_MARGIN: Final = 0.8  # between the best and the second best posterior
RATE_EPSILON: Final = 1e-6  # rates are clipped to [epsilon, 1 - epsilon]


@dataclass(frozen=True)
class FeedbackVotes:
    """Numbers of likes and plays, one entry per listener and song."""

    listeners: NDArray[np.int64]  # shape (n,), rows
    songs: NDArray[np.int64]  # shape (n,), columns; each pair of listener and song at most once
    likes: NDArray[np.float64]  # shape (n,)
    plays: NDArray[np.float64]  # shape (n,), at least `likes`

    def capped(self) -> "FeedbackVotes":
        share = np.minimum(1.0, MOST_VOTES / np.maximum(self.plays, 1e-9))
        return FeedbackVotes(self.listeners, self.songs, self.likes * share, self.plays * share)


@dataclass(frozen=True)
class FeedbackAssignment:
    """The most probable cluster of each song with votes; shape (n,) each."""

    songs: NDArray[np.int64]  # columns, ascending
    best: NDArray[np.int64]  # the cluster with the highest posterior
    log_odds: NDArray[np.float64]  # ln of the best posterior over that of the current cluster
    margin: NDArray[np.float64]  # best posterior minus second best
    posterior: NDArray[np.float64]  # posterior of the current cluster
    listeners: NDArray[np.int64]  # number of listeners who voted
    # Whether the song moves: at least five listeners, a margin above .8, and another cluster.
    moves: NDArray[np.bool_]

    def apply_moves(self, labels: NDArray[np.integer]) -> NDArray[np.int32]:
        moved = labels.astype(np.int32)
        moved[self.songs[self.moves]] = self.best[self.moves]
        return moved

    def least_certain_songs(self, n: int) -> NDArray[np.int64]:
        """The n songs with the smallest margin; listeners' answers about these songs help most."""
        order = np.lexsort((self.songs, self.margin))
        return self.songs[order[:n]]


def assign_by_feedback(
    votes: FeedbackVotes,
    points: NDArray[np.floating],
    centers: NDArray[np.floating],
    labels: NDArray[np.integer],
) -> FeedbackAssignment:
    """Compute each voted song's posterior cluster from its distance to the centers and its likes."""
    # With a uniform prior, the log posterior of cluster c for song s is
    #
    #     -|x - mu_c|^2 / (2 sigma^2) + sum over listeners u of  y ln q + (plays - y) ln(1 - q),
    #     logit q = logit qhat(u, c) + logit r_s - logit r
    #
    # y is the number of likes, qhat the listener's like rate among the cluster's other songs, r_s the
    # song's like rate and r the like rate of all songs.
    votes = votes.capped()
    songs, song_rows = np.unique(votes.songs, return_inverse=True)
    scores = _distance_scores(points, centers, labels, songs)
    if len(songs):
        likelihoods = _vote_log_likelihoods(votes, labels, len(centers), song_rows, len(songs))
        np.add.at(scores, song_rows, likelihoods)
    voters = np.bincount(song_rows, minlength=len(songs)) if len(songs) else np.empty(0, dtype=np.int64)
    return _decide_moves(scores, songs, labels[songs], voters)


@dataclass(frozen=True)
class LikelihoodGain:
    """Gain in log-likelihood per held-out play, and the gain's standard error over songs."""

    mean: float
    error: float

    @property
    def is_significant(self) -> bool:
        """Whether the gain exceeds two standard errors; by chance in one of forty trials."""
        return self.mean > 2 * self.error


def held_out_gain(
    votes: FeedbackVotes, labels: NDArray[np.integer], refined: NDArray[np.integer], n_clusters: int
) -> LikelihoodGain:
    """Measure how much better the refined labels explain held-out votes; above 0 is better."""
    votes = votes.capped()
    _, song_rows = np.unique(votes.songs, return_inverse=True)
    n_songs = int(song_rows.max()) + 1 if len(song_rows) else 0
    if not n_songs:
        return LikelihoodGain(0.0, 0.0)
    refined_and_current = []
    for assigned in (refined, labels):
        by_cluster = _vote_log_likelihoods(votes, assigned, n_clusters, song_rows, n_songs)
        refined_and_current.append(by_cluster[np.arange(len(song_rows)), assigned[votes.songs]])
    # Summed per song, since the votes on one song are not independent.
    by_song = np.bincount(song_rows, refined_and_current[0] - refined_and_current[1], n_songs)
    plays = max(float(votes.plays.sum()), 1e-9)
    return LikelihoodGain(float(by_song.sum()) / plays, float(np.sqrt((by_song**2).sum())) / plays)


def _distance_scores(
    points: NDArray[np.floating],
    centers: NDArray[np.floating],
    labels: NDArray[np.integer],
    songs: NDArray[np.int64],
) -> NDArray[np.float64]:
    variance = _axis_variance(points, centers, labels)
    voted = np.asarray(points[songs], dtype=np.float64)
    squared = (voted**2).sum(axis=1)[:, np.newaxis] - 2 * voted @ np.asarray(centers, np.float64).T
    squared += (np.asarray(centers, np.float64) ** 2).sum(axis=1)
    scores: NDArray[np.float64] = -squared / (2 * max(float(variance), 1e-9))
    return scores


def _axis_variance(
    points: NDArray[np.floating], centers: NDArray[np.floating], labels: NDArray[np.integer]
) -> float:
    """Variance around the centers per independent feature: the sigma^2 of `assign_by_feedback`."""
    if not len(points):
        return 0.0
    residuals = np.asarray(points - centers[labels], dtype=np.float64)
    # trace(C^2) / trace(C): the features are correlated. By the participation ratio about 40 of 128 are
    # independent. If 128 counted as independent, distances would always outweigh the votes.
    covariance = residuals.T @ residuals / len(residuals)
    total = float(np.trace(covariance))
    return float((covariance**2).sum()) / total if total else 0.0


def _vote_log_likelihoods(
    votes: FeedbackVotes,
    labels: NDArray[np.integer],
    n_clusters: int,
    song_rows: NDArray[np.integer],
    n_songs: int,
) -> NDArray[np.float64]:
    rate = np.clip(votes.likes.sum() / max(float(votes.plays.sum()), 1e-9), RATE_EPSILON, 1 - RATE_EPSILON)
    _, listener_rows = np.unique(votes.listeners, return_inverse=True)
    own = labels[votes.songs]
    shape = (int(listener_rows.max()) + 1, n_clusters)
    likes, plays = np.zeros(shape), np.zeros(shape)
    np.add.at(likes, (listener_rows, own), votes.likes)
    np.add.at(plays, (listener_rows, own), votes.plays)
    other_likes, other_plays = likes[listener_rows], plays[listener_rows]
    # Leave out the song's own votes, which would always support its current cluster.
    vote_rows = np.arange(len(listener_rows))
    other_likes[vote_rows, own] -= votes.likes
    other_plays[vote_rows, own] -= votes.plays
    qhat = (other_likes + PRIOR_PLAYS * rate) / (other_plays + PRIOR_PLAYS)
    song_likes = np.bincount(song_rows, votes.likes, n_songs)[song_rows]
    song_plays = np.bincount(song_rows, votes.plays, n_songs)[song_rows]
    song_rate = (song_likes + PRIOR_SONG * rate) / (song_plays + PRIOR_SONG)
    lift = logit(np.clip(song_rate, RATE_EPSILON, 1 - RATE_EPSILON)) - logit(rate)
    q = expit(logit(np.clip(qhat, RATE_EPSILON, 1 - RATE_EPSILON)) + lift[:, np.newaxis])
    q = np.clip(q, RATE_EPSILON, 1 - RATE_EPSILON)
    not_liked = (votes.plays - votes.likes)[:, np.newaxis] * np.log1p(-q)
    result: NDArray[np.float64] = votes.likes[:, np.newaxis] * np.log(q) + not_liked
    return result


def _decide_moves(
    scores: NDArray[np.float64],
    songs: NDArray[np.int64],
    own: NDArray[np.integer],
    voters: NDArray[np.int64],
) -> FeedbackAssignment:
    rows = np.arange(len(songs))
    posterior = np.exp(scores - scores.max(axis=1, keepdims=True)) if len(songs) else scores
    posterior /= np.maximum(posterior.sum(axis=1, keepdims=True), 1e-300)
    best = scores.argmax(axis=1) if len(songs) else np.empty(0, dtype=np.int64)
    ranked = np.sort(posterior, axis=1)
    second = ranked[:, -2] if posterior.shape[1] > 1 else np.zeros(len(songs))
    margin = posterior[rows, best] - second
    moves = (margin > LEAST_MARGIN) & (voters >= FEWEST_LISTENERS) & (best != own)
    log_odds = scores[rows, best] - scores[rows, own]
    return FeedbackAssignment(
        songs, best.astype(np.int64), log_odds, margin, posterior[rows, own], voters.astype(np.int64), moves
    )
