"""Measure a model on what listeners played after what it has learnt from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.engine import metrics
from recommender.engine.catalogue import Model, Profiles


@dataclass(frozen=True)
class Evaluation:
    """The means over listeners; `ndcg_each` has one value a listener, in the order of the profiles."""

    ndcg: float
    recall: float
    coverage: float
    diversity: float
    listeners: int
    ndcg_each: NDArray[np.float64]

    def summary(self) -> dict[str, float | int | None]:
        """The numbers to store; None where there was nothing to measure."""
        values = {name: getattr(self, name) for name in ("ndcg", "recall", "coverage", "diversity")}
        return {
            **{name: round(value, 6) if np.isfinite(value) else None for name, value in values.items()},
            "listeners": self.listeners,
        }


def evaluate(
    model: Model,
    profiles: Profiles,
    test: csr_array,
    *,
    artists: NDArray[np.int32],
    n: int = 20,
    seed: int = 7,
) -> Evaluation:
    """Recommend n songs to each listener and compare them with `test`, shape (profiles.n, n_songs).

    Listeners without a test play have no say. Songs heard before are not recommended, and not in `test`
    if they should count as found anew.
    """
    return of_lists(model.recommend(profiles, n, seed=seed), test, artists=artists)


def of_lists(lists: NDArray[np.int32], test: csr_array, *, artists: NDArray[np.int32]) -> Evaluation:
    """The same, of lists already made: shape (n_listeners, n)."""
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
