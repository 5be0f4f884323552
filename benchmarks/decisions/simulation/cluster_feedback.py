"""Songs in wrong clusters, and listeners whose feedback corrects them."""

import numpy as np

from recommender.engine.clustering.feedback_assignment import FeedbackVotes, assign_by_feedback

CENTERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
SONGS, LISTENERS = 300, 300
CLUSTER_NOISE = 0.6  # of the features: puts three of ten songs nearer to another center


def clustering_accuracies(seed: int, votes_per_song: int) -> tuple[float, float]:
    """Share of songs in their true cluster, before and after feedback."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, len(CENTERS), SONGS)
    points = CENTERS[truth] + random.normal(0, CLUSTER_NOISE, (SONGS, 2))
    labels = ((points[:, np.newaxis] - CENTERS) ** 2).sum(axis=2).argmin(axis=1)
    liked = random.integers(0, len(CENTERS), LISTENERS)
    listeners = np.concatenate(
        [random.choice(LISTENERS, votes_per_song, replace=False) for _ in range(SONGS)]
    )
    songs = np.repeat(np.arange(SONGS), votes_per_song)
    rate = np.where(liked[listeners] == truth[songs], 0.8, 0.15)
    likes = (random.random(len(listeners)) < rate).astype(np.float64)
    votes = FeedbackVotes(listeners.astype(np.int64), songs.astype(np.int64), likes, np.ones(len(listeners)))
    after = assign_by_feedback(votes, points, CENTERS, labels).apply_moves(labels)
    return float((labels == truth).mean()), float((after == truth).mean())
