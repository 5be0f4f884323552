"""Offline evaluation on plays after the end of the training data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.engine.data import Profiles, RecommenderModel
from recommender.engine.evaluation import metrics

FLOOR_BASELINES: Final = ("popularity", "random")  # a version must not be worse than these
SIMPLE_RECOMMENDERS: Final = ("popularity", "rp3beta")  # a version should be better than these
BOOTSTRAPS: Final = 1_000
BOOTSTRAP_SEED: Final = 7


@dataclass(frozen=True)
class Evaluation:
    """Metrics as means over listeners; `ndcg_each` has one value per listener, in profile order."""

    ndcg: float
    recall: float
    coverage: float
    diversity: float
    listeners: int
    ndcg_each: NDArray[np.float64]

    def summary(self) -> dict[str, float | int | None]:
        values = {name: getattr(self, name) for name in ("ndcg", "recall", "coverage", "diversity")}
        return {
            **{name: round(value, 6) if np.isfinite(value) else None for name, value in values.items()},
            "listeners": self.listeners,
        }


def evaluate_model(
    model: RecommenderModel,
    profiles: Profiles,
    test: csr_array,
    *,
    artists: NDArray[np.int32],
    n: int = metrics.LIST_LENGTH,
    seed: int = 7,
) -> Evaluation:
    """Metrics of the model's n best songs for each listener.

    Args:
        test: later plays of songs new to the listener, shape (profiles.n, n_songs). Listeners without any
            are left out.
        artists: artist codes, shape (n_songs,).
    """
    return evaluate_lists(model.recommend(profiles, n, seed=seed), test, artists=artists)


def evaluate_lists(lists: NDArray[np.int32], test: csr_array, *, artists: NDArray[np.int32]) -> Evaluation:
    """Metrics of given lists, shape (n_listeners, n); see `evaluate_model`."""
    each = metrics.ndcg(lists, test)
    counted = np.isfinite(each)
    has_any = bool(counted.any())
    return Evaluation(
        ndcg=float(each[counted].mean()) if has_any else float("nan"),
        recall=float(metrics.recall(lists, test)[counted].mean()) if has_any else float("nan"),
        coverage=metrics.coverage(lists[counted], test.shape[1]),
        diversity=metrics.diversity(lists[counted], artists),
        listeners=int(counted.sum()),
        ndcg_each=each,
    )


def paired_difference(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> dict[str, float | int]:
    """Mean of ours minus theirs with a 95 % bootstrap interval over listeners, as JSON types.

    Args:
        ours, theirs: shape (n_listeners,); NaN (no test play) is left out.
    """
    differences = (ours - theirs)[np.isfinite(ours) & np.isfinite(theirs)]
    random = np.random.default_rng(BOOTSTRAP_SEED)
    drawn = random.integers(0, len(differences), (BOOTSTRAPS, len(differences)))
    low, high = np.quantile(differences[drawn].mean(axis=1), [0.025, 0.975])
    return {
        "difference": round(float(differences.mean()), 6), "low": round(float(low), 6),
        "high": round(float(high), 6), "listeners": len(differences),
    }  # fmt: skip


def differences_from_baselines(name: str, each: Mapping[str, Evaluation]) -> dict[str, Any]:
    return {
        baseline: paired_difference(each[name].ndcg_each, each[baseline].ndcg_each)
        for baseline in SIMPLE_RECOMMENDERS
    }


def difference_from_floor(name: str, each: Mapping[str, Evaluation]) -> dict[str, Any]:
    floor = max(FLOOR_BASELINES, key=lambda baseline: each[baseline].summary()["ndcg"] or 0.0)
    return {"floor": floor, **paired_difference(each[name].ndcg_each, each[floor].ndcg_each)}
