"""Songs in the wrong cluster, and listeners who tell: for the calibration of what moves songs."""

import numpy as np

from recommender.engine.clustering.feedback_assignment import FeedbackVotes, assign_by_feedback

CENTERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
SONGS, LISTENERS = 300, 300
CLUSTER_NOISE = 0.6  # of the sound: puts three of ten songs nearer to another centre


def clustering_accuracies(seed: int, votes_per_song: int) -> tuple[float, float]:
    """Share of songs in their true cluster, before and after feedback; each listener likes one cluster."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, len(CENTERS), SONGS)
    points = CENTERS[truth] + random.normal(0, CLUSTER_NOISE, (SONGS, 2))
    labels = ((points[:, np.newaxis] - CENTERS) ** 2).sum(axis=2).argmin(axis=1)
    dear = random.integers(0, len(CENTERS), LISTENERS)
    who = np.concatenate([random.choice(LISTENERS, votes_per_song, replace=False) for _ in range(SONGS)])
    what = np.repeat(np.arange(SONGS), votes_per_song)
    rate = np.where(dear[who] == truth[what], 0.8, 0.15)
    likes = (random.random(len(who)) < rate).astype(np.float64)
    votes = FeedbackVotes(who.astype(np.int64), what.astype(np.int64), likes, np.ones(len(who)))
    after = assign_by_feedback(votes, points, CENTERS, labels).apply_moves(labels)
    return float((labels == truth).mean()), float((after == truth).mean())
