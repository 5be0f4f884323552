"""Listeners' feedback moves songs between clusters: reversible evidence beside what the songs are like."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

PRIOR_PLAYS: Final = 4.0  # a listener's rate in a cluster starts as if so many plays had gone the usual way
PRIOR_SONG: Final = 10.0  # a song's own rate likewise: liked everywhere says nothing about where it belongs
MOST_VOTES: Final = 5.0  # of one listener for one song
FEWEST_LISTENERS: Final = 5
LEAST_MARGIN: Final = 0.8  # of the best posterior above the second
RATE_EPSILON: Final = 1e-6  # rates stay this far from 0 and 1


@dataclass(frozen=True)
class FeedbackVotes:
    """What listeners said of songs: one entry a listener and song.

    Attributes:
        listeners, songs: shape (n,), rows and columns; each pair once.
        likes, plays: shape (n,); likes of so many plays, 0 <= likes <= plays.
    """

    listeners: NDArray[np.int64]
    songs: NDArray[np.int64]
    likes: NDArray[np.float64]
    plays: NDArray[np.float64]

    def capped(self) -> "FeedbackVotes":
        """No listener counts more than five times for a song."""
        share = np.minimum(1.0, MOST_VOTES / np.maximum(self.plays, 1e-9))
        return FeedbackVotes(self.listeners, self.songs, self.likes * share, self.plays * share)


@dataclass(frozen=True)
class FeedbackAssignment:
    """Where songs belong once listeners were heard; entry i is one song that was voted on.

    Attributes:
        songs: columns, ascending.
        best: the cluster with the highest posterior.
        odds: ln of the best's posterior over that of the cluster it is in now.
        margin: of the best's posterior above the second's.
        posterior: of the cluster it is in now.
        listeners: how many voted.
        moves: whether it is assigned anew: five listeners, a margin above .8, and another cluster.
    """

    songs: NDArray[np.int64]
    best: NDArray[np.int64]
    log_odds: NDArray[np.float64]
    margin: NDArray[np.float64]
    posterior: NDArray[np.float64]
    listeners: NDArray[np.int64]
    moves: NDArray[np.bool_]

    def apply_moves(self, labels: NDArray[np.integer]) -> NDArray[np.int32]:
        """The assignments with these songs moved; the given ones stay as they are."""
        moved = labels.astype(np.int32)
        moved[self.songs[self.moves]] = self.best[self.moves]
        return moved

    def least_certain_songs(self, n: int) -> NDArray[np.int64]:
        """Columns of the songs that most need an opinion: the least sure first."""
        order = np.lexsort((self.songs, self.margin))
        return self.songs[order[:n]]


def assign_by_feedback(
    votes: FeedbackVotes,
    points: NDArray[np.floating],
    centers: NDArray[np.floating],
    labels: NDArray[np.integer],
) -> FeedbackAssignment:
    """Weigh each voted song's place among the clusters against what listeners make of it.

        S(s, c) = -|x - mu_c|^2 / (2 sigma^2) + sum over listeners of  y ln q + (plays - y) ln(1 - q),
        logit q = logit qhat(u, c) + logit r_s - logit r

    qhat is the listener's rate of likes among the cluster's other songs, r_s the song's own, r everybody's.
    A function of votes and geometry alone: without the votes every song is where it was.

    Args:
        points: shape (n_songs, d); centers (n_clusters, d); labels (n_songs,) where they are now.
    """
    votes = votes.capped()
    songs, rows = np.unique(votes.songs, return_inverse=True)
    scores = _distance_scores(points, centers, labels, songs)
    if len(songs):
        likelihood = _likelihood(votes, labels, len(centers), rows, len(songs))
        np.add.at(scores, rows, likelihood)
    voters = np.bincount(rows, minlength=len(songs)) if len(songs) else np.empty(0, dtype=np.int64)
    return _decide_moves(scores, songs, labels[songs], voters)


@dataclass(frozen=True)
class LikelihoodGain:
    """How much likelier held-out votes are: mean log-likelihood a play, and its standard error over songs."""

    mean: float
    error: float

    @property
    def is_significant(self) -> bool:
        """By two standard errors: chance alone passes in one of forty trials."""
        return self.mean > 2 * self.error


def held_out_gain(
    votes: FeedbackVotes, labels: NDArray[np.integer], refined: NDArray[np.integer], n_clusters: int
) -> LikelihoodGain:
    """The gain of these votes, which `refined` has not seen; above 0 is better.

    Each listener's rate in a song's cluster is taken from the listener's other songs.
    """
    votes = votes.capped()
    _, rows = np.unique(votes.songs, return_inverse=True)
    number = int(rows.max()) + 1 if len(rows) else 0
    if not number:
        return LikelihoodGain(0.0, 0.0)
    found = []
    for of in (refined, labels):
        each = _likelihood(votes, of, n_clusters, rows, number)
        found.append(each[np.arange(len(rows)), of[votes.songs]])
    # Votes on one song stand and fall together.
    of_songs = np.bincount(rows, found[0] - found[1], number)
    plays = max(float(votes.plays.sum()), 1e-9)
    return LikelihoodGain(float(of_songs.sum()) / plays, float(np.sqrt((of_songs**2).sum())) / plays)


def _distance_scores(
    points: NDArray[np.floating],
    centers: NDArray[np.floating],
    labels: NDArray[np.integer],
    songs: NDArray[np.int64],
) -> NDArray[np.float64]:
    spread = _axis_variance(points, centers, labels)
    chosen = np.asarray(points[songs], dtype=np.float64)
    squares = (chosen**2).sum(axis=1)[:, np.newaxis] - 2 * chosen @ np.asarray(centers, np.float64).T
    squares += (np.asarray(centers, np.float64) ** 2).sum(axis=1)
    scores: NDArray[np.float64] = -squares / (2 * max(float(spread), 1e-9))
    return scores


def _axis_variance(
    points: NDArray[np.floating], centers: NDArray[np.floating], labels: NDArray[np.integer]
) -> float:
    """sigma^2: the variance around the centres, along each axis that says something of its own.

    Axes go together: of 128 some 40 count, by the participation ratio of the residuals' covariance. Taken for
    128 independent witnesses, sound would never be talked over by listeners.
    """
    if not len(points):
        return 0.0
    residuals = np.asarray(points - centers[labels], dtype=np.float64)
    covariance = residuals.T @ residuals / len(residuals)
    total = float(np.trace(covariance))
    return float((covariance**2).sum()) / total if total else 0.0


def _likelihood(
    votes: FeedbackVotes,
    labels: NDArray[np.integer],
    n_clusters: int,
    rows: NDArray[np.integer],
    n_songs: int,
) -> NDArray[np.float64]:
    """Shape (n_votes, n_clusters): log-likelihood of each vote, were its song in each cluster."""
    rate = np.clip(votes.likes.sum() / max(float(votes.plays.sum()), 1e-9), RATE_EPSILON, 1 - RATE_EPSILON)
    _, who = np.unique(votes.listeners, return_inverse=True)
    own = labels[votes.songs]
    shape = (int(who.max()) + 1, n_clusters)
    likes, plays = np.zeros(shape), np.zeros(shape)
    np.add.at(likes, (who, own), votes.likes)
    np.add.at(plays, (who, own), votes.plays)
    of_likes, of_plays = likes[who], plays[who]
    # The song's own votes say nothing about its cluster: they would keep it where it is.
    places = np.arange(len(who))
    of_likes[places, own] -= votes.likes
    of_plays[places, own] -= votes.plays
    qhat = (of_likes + PRIOR_PLAYS * rate) / (of_plays + PRIOR_PLAYS)
    song_likes = np.bincount(rows, votes.likes, n_songs)[rows]
    song_plays = np.bincount(rows, votes.plays, n_songs)[rows]
    song_rate = (song_likes + PRIOR_SONG * rate) / (song_plays + PRIOR_SONG)
    lift = logit(np.clip(song_rate, RATE_EPSILON, 1 - RATE_EPSILON)) - logit(rate)
    q = expit(logit(np.clip(qhat, RATE_EPSILON, 1 - RATE_EPSILON)) + lift[:, np.newaxis])
    q = np.clip(q, RATE_EPSILON, 1 - RATE_EPSILON)
    against = (votes.plays - votes.likes)[:, np.newaxis] * np.log1p(-q)
    found: NDArray[np.float64] = votes.likes[:, np.newaxis] * np.log(q) + against
    return found


def _decide_moves(
    scores: NDArray[np.float64],
    songs: NDArray[np.int64],
    own: NDArray[np.integer],
    voters: NDArray[np.int64],
) -> FeedbackAssignment:
    places = np.arange(len(songs))
    posterior = np.exp(scores - scores.max(axis=1, keepdims=True)) if len(songs) else scores
    posterior /= np.maximum(posterior.sum(axis=1, keepdims=True), 1e-300)
    best = scores.argmax(axis=1) if len(songs) else np.empty(0, dtype=np.int64)
    ranked = np.sort(posterior, axis=1)
    second = ranked[:, -2] if posterior.shape[1] > 1 else np.zeros(len(songs))
    margin = posterior[places, best] - second
    moves = (margin > LEAST_MARGIN) & (voters >= FEWEST_LISTENERS) & (best != own)
    odds = scores[places, best] - scores[places, own]
    return FeedbackAssignment(
        songs, best.astype(np.int64), odds, margin, posterior[places, own], voters.astype(np.int64), moves
    )
