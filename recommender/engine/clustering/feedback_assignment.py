"""Moves songs between clusters by listeners' feedback.

Songs without votes stay in their K-means cluster, so deleting the feedback undoes every move.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

PRIOR_PLAYS: Final = 4.0  # pseudo-plays with the overall like rate, added to a listener's plays in a cluster
PRIOR_SONG: Final = (
    10.0  # pseudo-plays added to each song: a song liked everywhere fits every cluster equally
)
MOST_VOTES: Final = 5.0  # votes counted per listener and song
FEWEST_LISTENERS: Final = 5
LEAST_MARGIN: Final = 0.8  # between the best and the second best posterior
RATE_EPSILON: Final = 1e-6  # rates are clipped to [epsilon, 1 - epsilon]
# These limit memory: no array grows with votes times clusters. Measured with 10 million votes: 130 MB.
VOTES_AT_ONCE: Final = 100_000
PAIRS_AT_ONCE: Final = 250_000  # pairs of a vote and a cluster
SUMS_AT_ONCE: Final = 2_000_000  # sums by song and cluster


@dataclass(frozen=True)
class FeedbackVotes:
    """Likes and plays, one entry per listener and song."""

    listeners: NDArray[np.integer]  # shape (n,), rows
    songs: NDArray[np.integer]  # shape (n,), columns; each pair of listener and song at most once
    likes: NDArray[np.floating]  # shape (n,)
    plays: NDArray[np.floating]  # shape (n,), at least `likes`

    def capped(self) -> "FeedbackVotes":
        plays = self.plays.astype(np.float64)
        share = np.minimum(1.0, MOST_VOTES / np.maximum(plays, 1e-9))
        return FeedbackVotes(self.listeners, self.songs, self.likes * share, plays * share)

    def select(self, chosen: NDArray[np.bool_] | NDArray[np.intp] | slice) -> "FeedbackVotes":
        return FeedbackVotes(
            self.listeners[chosen], self.songs[chosen], self.likes[chosen], self.plays[chosen]
        )

    def by_listener(self) -> "FeedbackVotes":
        if (self.listeners[1:] >= self.listeners[:-1]).all():
            return self
        return self.select(np.argsort(self.listeners, kind="stable"))


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
        """The n songs with the smallest margin, for which further feedback helps most."""
        order = np.lexsort((self.songs, self.margin))
        return self.songs[order[:n]]


def assign_by_feedback(
    votes: FeedbackVotes,
    points: NDArray[np.floating],
    centers: NDArray[np.floating],
    labels: NDArray[np.integer],
) -> FeedbackAssignment:
    """Each voted song's posterior cluster, from its distance to the centers and its likes."""
    # With a uniform prior, the log posterior of cluster c for song s is
    #
    #     -|x - mu_c|^2 / (2 sigma^2) + sum over listeners u of  y ln q + (plays - y) ln(1 - q),
    #     logit q = logit qhat(u, c) + logit r_s - logit r
    #
    # y is the number of likes, qhat the listener's like rate among the cluster's other songs, r_s the
    # song's like rate and r the like rate of all songs.
    votes = votes.by_listener()
    rates = _LikeRates.measure(votes, len(labels))
    songs = np.flatnonzero(rates.voters)
    n_clusters, variance = len(centers), _axis_variance(points, centers, labels)
    blocks = []
    songs_at_once = max(1, SUMS_AT_ONCE // n_clusters)
    for start in range(0, max(1, len(songs)), songs_at_once):
        block = songs[start : start + songs_at_once]
        scores = _distance_scores(points, centers, variance, block)
        scores += _vote_scores(votes, rates, labels, n_clusters, block)
        blocks.append(_decide_moves(scores, block, labels[block], rates.voters[block]))
    names = [column.name for column in fields(FeedbackAssignment)]
    return FeedbackAssignment(*(np.concatenate([getattr(block, name) for block in blocks]) for name in names))


@dataclass(frozen=True)
class LikelihoodGain:
    """Gain in log-likelihood per held-out play, and its standard error over songs."""

    mean: float
    error: float

    @property
    def is_significant(self) -> bool:
        return self.mean > 2 * self.error  # by chance in one of forty trials


def held_out_gain(
    votes: FeedbackVotes, labels: NDArray[np.integer], refined: NDArray[np.integer], n_clusters: int
) -> LikelihoodGain:
    """How much better the refined labels explain held-out votes; above 0 is better."""
    votes = votes.by_listener()
    rates = _LikeRates.measure(votes, len(labels))
    if not rates.plays:
        return LikelihoodGain(0.0, 0.0)
    # Summed per song, since the votes on one song are not independent.
    by_song = np.zeros(len(labels))
    for block in _vote_blocks(votes):
        for assigned, sign in ((refined, 1.0), (labels, -1.0)):
            own = _ListenerLikes.count(block, assigned, n_clusters).own_log_likelihoods(block, rates)
            by_song += np.bincount(block.songs, sign * own, len(labels))
    plays = max(rates.plays, 1e-9)
    return LikelihoodGain(float(by_song.sum()) / plays, float(np.sqrt((by_song**2).sum())) / plays)


def _distance_scores(
    points: NDArray[np.floating],
    centers: NDArray[np.floating],
    variance: float,
    songs: NDArray[np.integer],
) -> NDArray[np.float64]:
    voted = np.asarray(points[songs], dtype=np.float64)
    squared = (voted**2).sum(axis=1)[:, np.newaxis] - 2 * voted @ np.asarray(centers, np.float64).T
    squared += (np.asarray(centers, np.float64) ** 2).sum(axis=1)
    scores: NDArray[np.float64] = -squared / (2 * max(variance, 1e-9))
    return scores


def _axis_variance(
    points: NDArray[np.floating], centers: NDArray[np.floating], labels: NDArray[np.integer]
) -> float:
    """Variance around the centers per independent feature: sigma^2 in `assign_by_feedback`."""
    if not len(points):
        return 0.0
    residuals = np.asarray(points - centers[labels], dtype=np.float64)
    # trace(C^2) / trace(C): the features are correlated. By the participation ratio about 40 of 128 are
    # independent. If 128 counted as independent, distances would always outweigh the votes.
    covariance = residuals.T @ residuals / len(residuals)
    total = float(np.trace(covariance))
    return float((covariance**2).sum()) / total if total else 0.0


@dataclass(frozen=True)
class _LikeRates:
    """Like rates of all songs together and of each song, from capped votes."""

    plays: float  # of all songs
    overall: float  # the share of them that is liked
    lift: NDArray[np.float64]  # shape (n_songs,), the song's like rate against that of all songs, in log odds
    voters: NDArray[np.int64]  # shape (n_songs,), listeners with a vote

    @classmethod
    def measure(cls, votes: FeedbackVotes, n_songs: int) -> "_LikeRates":
        likes, plays, voters = np.zeros(n_songs), np.zeros(n_songs), np.zeros(n_songs, dtype=np.int64)
        for block in _vote_blocks(votes):
            likes += np.bincount(block.songs, block.likes, n_songs)
            plays += np.bincount(block.songs, block.plays, n_songs)
            voters += np.bincount(block.songs, minlength=n_songs)
        total = float(plays.sum())
        overall = float(np.clip(likes.sum() / max(total, 1e-9), RATE_EPSILON, 1 - RATE_EPSILON))
        lift = _log_odds((likes + PRIOR_SONG * overall) / (plays + PRIOR_SONG)) - logit(overall)
        return cls(total, overall, lift, voters)


@dataclass(frozen=True)
class _ListenerLikes:
    """Likes and plays of each listener in each cluster that has any, by listener and cluster."""

    clusters: NDArray[np.int64]  # shape (n_entries,), like the next two
    likes: NDArray[np.float64]
    plays: NDArray[np.float64]
    first: NDArray[np.int64]  # shape (n_votes,), the first entry of the vote's listener
    number: NDArray[np.int64]  # shape (n_votes,), the number of entries of the vote's listener
    own: NDArray[np.int64]  # shape (n_votes,), the entry of the vote's listener and its song's cluster

    @classmethod
    def count(cls, block: FeedbackVotes, labels: NDArray[np.integer], n_clusters: int) -> "_ListenerLikes":
        rows = np.concatenate([[0], np.cumsum(block.listeners[1:] != block.listeners[:-1])])
        keys, own = np.unique(rows * n_clusters + labels[block.songs], return_inverse=True)
        starts = np.searchsorted(keys, np.arange(rows[-1] + 2) * n_clusters)
        likes, plays = (np.bincount(own, column).astype(np.float64) for column in (block.likes, block.plays))
        return cls(
            keys % n_clusters, likes, plays,
            starts[rows], np.diff(starts)[rows], own,
        )  # fmt: skip

    def own_log_likelihoods(self, block: FeedbackVotes, rates: _LikeRates) -> NDArray[np.float64]:
        # Without the song's own votes, which would always support its current cluster.
        likes, plays = self.likes[self.own] - block.likes, self.plays[self.own] - block.plays
        odds = _listener_odds(likes, plays, rates.overall) + rates.lift[block.songs]
        return _log_likelihoods(block.likes, block.plays, odds)

    def pairs(self, chosen: NDArray[np.intp]) -> Iterator["_Pairs"]:
        """Yield each chosen vote with each cluster that its listener has played."""
        ends = np.cumsum(self.number[chosen])
        start = 0
        while start < len(chosen):
            done = ends[start - 1] if start else 0
            end = max(start + 1, int(np.searchsorted(ends, done + PAIRS_AT_ONCE, side="right")))
            some = chosen[start:end]
            number = self.number[some]
            within = np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number)
            yield _Pairs(np.repeat(some, number), np.repeat(self.first[some], number) + within)
            start = end


class _Pairs(NamedTuple):
    votes: NDArray[np.intp]
    entries: NDArray[np.int64]


def _vote_blocks(votes: FeedbackVotes) -> Iterator[FeedbackVotes]:
    """Yield capped votes in blocks of whole listeners; `votes` must be ordered by listener."""
    start, n_votes = 0, len(votes.listeners)
    while start < n_votes:
        last = votes.listeners[min(start + VOTES_AT_ONCE, n_votes) - 1]
        end = int(np.searchsorted(votes.listeners, last, side="right"))
        yield votes.select(slice(start, end)).capped()
        start = end


def _vote_scores(
    votes: FeedbackVotes,
    rates: _LikeRates,
    labels: NDArray[np.integer],
    n_clusters: int,
    songs: NDArray[np.intp],
) -> NDArray[np.float64]:
    """Log-likelihood of each song's votes by cluster, up to a constant.

    The constant is the log-likelihood if listeners have played nothing else of a cluster, so that most pairs
    add nothing.
    """
    scores = np.zeros((len(songs), n_clusters))
    places = np.full(len(labels), -1, dtype=np.int64)
    places[songs] = np.arange(len(songs))
    unknown = logit(rates.overall)
    for block in _vote_blocks(votes):
        listeners = _ListenerLikes.count(block, labels, n_clusters)
        for votes_of, entries in listeners.pairs(np.flatnonzero(places[block.songs] >= 0)):
            is_own = entries == listeners.own[votes_of]
            likes, plays = block.likes[votes_of], block.plays[votes_of]
            lift = rates.lift[block.songs[votes_of]]
            odds = _listener_odds(
                listeners.likes[entries] - is_own * likes, listeners.plays[entries] - is_own * plays,
                rates.overall,
            )  # fmt: skip
            gain = _log_likelihoods(likes, plays, odds + lift)
            gain -= _log_likelihoods(likes, plays, unknown + lift)
            at = places[block.songs[votes_of]] * n_clusters + listeners.clusters[entries]
            np.add.at(scores.reshape(-1), at, gain)
    return scores


def _listener_odds(
    likes: NDArray[np.floating], plays: NDArray[np.floating], rate: float
) -> NDArray[np.float64]:
    return _log_odds((likes + PRIOR_PLAYS * rate) / (plays + PRIOR_PLAYS))


def _log_likelihoods(
    likes: NDArray[np.floating], plays: NDArray[np.floating], odds: NDArray[np.float64]
) -> NDArray[np.float64]:
    most = logit(1 - RATE_EPSILON)
    odds = np.clip(odds, -most, most)
    # likes ln q + (plays - likes) ln(1 - q) with odds = ln(q / (1 - q))
    result: NDArray[np.float64] = likes * odds - plays * np.logaddexp(0.0, odds)
    return result


def _log_odds(rates: NDArray[np.floating]) -> NDArray[np.float64]:
    odds: NDArray[np.float64] = logit(np.clip(rates, RATE_EPSILON, 1 - RATE_EPSILON))
    return odds


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
