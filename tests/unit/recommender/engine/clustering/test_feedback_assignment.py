"""Feedback moves songs to the clusters that listeners' likes support, and back."""

import tracemalloc
from collections import defaultdict

import numpy as np
import pytest

from recommender.engine.clustering import feedback_assignment
from recommender.engine.clustering.feedback_assignment import FeedbackVotes, assign_by_feedback, held_out_gain

CENTERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])


class World:
    """Songs whose sound tells their cluster in seven of ten cases; every listener likes one cluster."""

    def __init__(self, seed: int, *, plays_a_song: int, songs: int = 240, listeners: int = 300) -> None:
        random = np.random.default_rng(seed)
        self.truth = random.integers(0, 3, songs)
        self.points = CENTERS[self.truth] + random.normal(0, 0.6, (songs, 2))
        self.labels = ((self.points[:, np.newaxis] - CENTERS) ** 2).sum(axis=2).argmin(axis=1)
        dear = random.integers(0, 3, listeners)
        pairs = [
            (listener, song)
            for song in range(songs)
            for listener in random.choice(listeners, plays_a_song, replace=False)
        ]
        who, what = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
        rate = np.where(dear[who] == self.truth[what], 0.8, 0.15)
        likes = (random.random(len(who)) < rate).astype(float)
        self.votes = FeedbackVotes(who, what, likes, np.ones(len(who)))

    def accuracy(self, labels: np.ndarray) -> float:
        return float((labels == self.truth).mean())

    def refined(self, votes: FeedbackVotes | None = None) -> np.ndarray:
        return assign_by_feedback(votes or self.votes, self.points, CENTERS, self.labels).apply_moves(
            self.labels
        )


def test_many_votes_move_nearly_every_song_to_its_true_cluster() -> None:
    world = World(1, plays_a_song=60)

    before, after = world.accuracy(world.labels), world.accuracy(world.refined())

    assert before < 0.75
    assert after > 0.95


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("plays", [1, 5, 20])
def test_few_votes_do_no_harm(seed: int, plays: int) -> None:
    world = World(seed, plays_a_song=plays)

    assert world.accuracy(world.refined()) >= world.accuracy(world.labels) - 0.01


def test_random_votes_move_almost_no_songs() -> None:
    world = World(2, plays_a_song=30)
    noise = np.random.default_rng(3).random(len(world.votes.likes)) < 0.3
    votes = FeedbackVotes(world.votes.listeners, world.votes.songs, noise.astype(float), world.votes.plays)

    moved = world.refined(votes) != world.labels

    assert moved.mean() <= 0.05


def test_deleting_the_votes_restores_every_assignment() -> None:
    world = World(4, plays_a_song=60)
    none = np.empty(0, dtype=np.int64)

    refined = assign_by_feedback(
        FeedbackVotes(none, none, np.empty(0), np.empty(0)), world.points, CENTERS, world.labels
    )

    assert refined.apply_moves(world.labels).tolist() == world.labels.tolist()
    assert refined.least_certain_songs(5).tolist() == []


def test_four_listeners_never_move_a_song() -> None:
    world = World(5, plays_a_song=60)
    wrong = int(np.flatnonzero(world.refined() != world.labels)[0])
    of_song = np.flatnonzero(world.votes.songs == wrong)
    kept = np.ones(len(world.votes.songs), dtype=bool)
    kept[of_song[4:]] = False
    many = np.where(world.votes.songs == wrong, 5.0, 1.0)
    votes = world.votes
    few = FeedbackVotes(
        votes.listeners[kept], votes.songs[kept], (votes.likes * many)[kept], (votes.plays * many)[kept]
    )

    assert world.refined(few)[wrong] == world.labels[wrong]


def test_a_thousand_votes_of_one_listener_count_five_times() -> None:
    one = FeedbackVotes(np.array([0]), np.array([0]), np.array([700.0]), np.array([1_000.0])).capped()

    assert (one.likes.tolist(), one.plays.tolist()) == ([3.5], [5.0])


def test_a_song_that_everybody_likes_stays_in_its_cluster() -> None:
    world = World(6, plays_a_song=40)
    likes = np.where(world.votes.songs == 0, 1.0, world.votes.likes)

    refined = world.refined(FeedbackVotes(world.votes.listeners, world.votes.songs, likes, world.votes.plays))

    assert refined[0] == world.labels[0]


def test_refined_clusters_explain_held_out_votes_better() -> None:
    world = World(7, plays_a_song=60)
    votes, half = world.votes, np.random.default_rng(8).random(len(world.votes.songs)) < 0.5

    def part(chosen: np.ndarray) -> FeedbackVotes:
        return FeedbackVotes(
            votes.listeners[chosen], votes.songs[chosen], votes.likes[chosen], votes.plays[chosen]
        )

    refined = world.refined(part(half))

    better = held_out_gain(part(~half), world.labels, refined, 3)
    worse = held_out_gain(part(~half), refined, world.labels, 3)
    same = held_out_gain(part(~half), world.labels, world.labels, 3)
    assert (better.mean > 0.01, better.is_significant) == (True, True)
    assert (worse.mean < -0.01, worse.is_significant) == (True, False)
    assert (same.mean, same.is_significant) == (0, False)


def test_shuffled_clusters_are_seldom_significantly_better() -> None:
    world = World(10, plays_a_song=20)
    random = np.random.default_rng(11)

    sure = 0
    for _ in range(60):
        shuffled = world.labels.copy()
        few = random.choice(len(shuffled), 12, replace=False)
        shuffled[few] = random.integers(0, 3, 12)
        sure += held_out_gain(world.votes, world.labels, shuffled, 3).is_significant

    assert sure <= 3


def test_the_least_certain_songs_come_first() -> None:
    world = World(9, plays_a_song=10)

    refined = assign_by_feedback(world.votes, world.points, CENTERS, world.labels)

    margins = dict(zip(refined.songs.tolist(), refined.margin.tolist(), strict=True))
    asked = refined.least_certain_songs(3).tolist()
    assert max(margins[song] for song in asked) <= min(margins[s] for s in margins if s not in asked)


def log_odds_by_definition(world: World, votes: FeedbackVotes) -> dict[int, float]:
    """Best against own cluster of each voted song, by the formula of `assign_by_feedback`, vote by vote."""
    rows = list(zip(votes.listeners, votes.songs, votes.likes, votes.plays, strict=True))
    capped = [(u, s, y * min(1, 5 / n), min(n, 5)) for u, s, y, n in rows]
    rate = sum(y for *_, y, _ in capped) / sum(n for *_, n in capped)
    of_listener: dict[tuple[int, int], np.ndarray] = defaultdict(lambda: np.zeros(2))
    of_song: dict[int, np.ndarray] = defaultdict(lambda: np.zeros(2))
    for u, s, y, n in capped:
        of_listener[u, world.labels[s]] += (y, n)
        of_song[s] += (y, n)
    residuals = world.points - CENTERS[world.labels]
    covariance = residuals.T @ residuals / len(residuals)
    variance = (covariance**2).sum() / np.trace(covariance)
    scores = {s: -((world.points[s] - CENTERS) ** 2).sum(axis=1) / (2 * variance) for s in of_song}
    for u, s, y, n in capped:
        for cluster in range(3):
            own = (y, n) if world.labels[s] == cluster else (0, 0)
            likes, plays = of_listener[u, cluster] - own
            q, song = (likes + 4 * rate) / (plays + 4), (of_song[s][0] + 10 * rate) / (of_song[s][1] + 10)
            odds = np.log(q / (1 - q)) + np.log(song / (1 - song)) - np.log(rate / (1 - rate))
            scores[s][cluster] -= y * np.log1p(np.exp(-odds)) + (n - y) * np.log1p(np.exp(odds))
    return {s: values.max() - values[world.labels[s]] for s, values in scores.items()}


@pytest.mark.parametrize("at_once", [1, 7, 1_000_000])
def test_the_posterior_is_that_of_the_formula_for_blocks_of_any_size(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("VOTES_AT_ONCE", "PAIRS_AT_ONCE", "SUMS_AT_ONCE"):
        monkeypatch.setattr(feedback_assignment, name, at_once)
    world = World(12, plays_a_song=4, songs=40, listeners=25)
    plays = np.random.default_rng(13).integers(1, 9, len(world.votes.songs)).astype(float)
    votes = FeedbackVotes(world.votes.listeners, world.votes.songs, world.votes.likes * plays, plays)

    refined = assign_by_feedback(votes, world.points, CENTERS, world.labels)

    expected = log_odds_by_definition(world, votes)
    assert refined.songs.tolist() == sorted(expected)
    assert refined.log_odds == pytest.approx([expected[song] for song in refined.songs.tolist()], abs=1e-9)
    assert refined.listeners.tolist() == [4] * 40


def test_memory_does_not_grow_with_votes_times_clusters() -> None:
    """One dense array of these votes and clusters has 320 MB, and the training kept ten of them."""
    random, clusters, songs = np.random.default_rng(14), 400, 3_000
    points, centers = random.normal(size=(songs, 2)), random.normal(size=(clusters, 2))
    labels = random.integers(0, clusters, songs)
    pairs = np.unique(random.integers(0, 5_000 * songs, 100_000))
    listeners, voted = np.divmod(pairs, songs)
    likes, plays = (random.random(len(pairs)) < 0.5).astype(np.float32), np.ones(len(pairs), np.float32)
    votes = FeedbackVotes(listeners.astype(np.int32), voted.astype(np.int32), likes, plays)

    tracemalloc.start()
    try:
        refined = assign_by_feedback(votes, points, centers, labels)
        held_out_gain(votes, labels, refined.apply_moves(labels), clusters)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 80e6
