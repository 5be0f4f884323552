"""What logged lists say of a model that never served: their first places, weighed by both models' chances."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

LEAST_SUPPORT: Final = 0.85
LEAST_EFFECTIVE_SHARE: Final = 0.3
FEWEST_LISTENERS: Final = 50
GROSS_HARM: Final = -0.02
BOOTSTRAPS: Final = 1_000
QUANTILE: Final = 0.975


@dataclass(frozen=True)
class OffPolicyEstimate:
    """Rewards of first places under the new model, and under the one that served.

    Attributes:
        new, old: mean reward.
        low, high: of new - old, 95 % by bootstrap over listeners.
        support: mean weight; far below 1, the new model offers what was never shown.
        effective: effective sample size as a share of the lists.
        listeners: how many had lists.
    """

    new: float
    old: float
    low: float
    high: float
    support: float
    effective: float
    listeners: int

    @property
    def is_reliable(self) -> bool:
        return (
            self.support >= LEAST_SUPPORT
            and self.effective >= LEAST_EFFECTIVE_SHARE
            and self.listeners >= FEWEST_LISTENERS
        )

    @property
    def is_gross_harm(self) -> bool:
        """The only thing it may decide: a model that is surely worse by two points is refused."""
        return self.is_reliable and self.high < GROSS_HARM


def estimate_off_policy(
    rewards: NDArray[np.floating],
    old: NDArray[np.floating],
    new: NDArray[np.floating],
    listeners: NDArray[np.integer],
    *,
    seed: int,
) -> OffPolicyEstimate:
    """Self-normalised importance sampling over first places.

        w = pi_new / pi_old,  V_new = sum(w r) / sum(w),  ESS = sum(w)^2 / sum(w^2)

    First places alone: further down, what the old model would never have offered adds up to a bias upwards.

    Args:
        rewards: of each list's first song, 0 to 1; shape (n_lists,).
        old: the probability with which it was drawn, above 0.
        new: the probability with which the new model would have drawn it, from the same state.
        listeners: whose list it was.

    Source:
        Swaminathan and Joachims, "The self-normalized estimator for counterfactual learning", NeurIPS 2015.
    """
    if not len(rewards):
        return OffPolicyEstimate(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0)
    weights = np.asarray(new, dtype=np.float64) / np.asarray(old, dtype=np.float64)
    _, owners = np.unique(listeners, return_inverse=True)
    number = int(owners.max()) + 1
    # Sums a listener: a bootstrap draws listeners, whose lists are no independent witnesses.
    sums = np.stack(
        [
            np.bincount(owners, of, number)
            for of in (weights * rewards, weights, rewards, np.ones(len(weights)))
        ]
    )
    times = np.random.default_rng(seed).multinomial(number, np.full(number, 1 / number), size=BOOTSTRAPS)
    drawn = times.astype(np.float64) @ sums.T
    differences = _ratio(drawn[:, 0], drawn[:, 1]) - _ratio(drawn[:, 2], drawn[:, 3])
    low, high = np.quantile(differences, [1 - QUANTILE, QUANTILE])
    whole = sums.sum(axis=1)
    squares = float((weights**2).sum())
    effective = float(weights.sum()) ** 2 / squares / len(weights) if squares else 0.0
    return OffPolicyEstimate(
        new=float(_ratio(whole[0], whole[1])), old=float(_ratio(whole[2], whole[3])), low=float(low),
        high=float(high), support=float(weights.mean()), effective=effective, listeners=number,
    )  # fmt: skip


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = above / np.maximum(below, 1e-12)
    return found
