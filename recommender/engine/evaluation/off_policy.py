"""Off-policy evaluation: how a model that never served would have done, from logged lists."""

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
    """Mean reward of lists' first songs under the new model and under the one that served."""

    new: float  # mean reward, 0 to 1, like `old`
    old: float
    low: float  # 95 % interval of new - old, by bootstrap over listeners
    high: float
    support: float  # mean weight; far below 1 if the new model offers songs that were never shown
    effective: float  # effective sample size as a share of the lists
    listeners: int  # number of listeners with lists

    @property
    def is_reliable(self) -> bool:
        return (
            self.support >= LEAST_SUPPORT
            and self.effective >= LEAST_EFFECTIVE_SHARE
            and self.listeners >= FEWEST_LISTENERS
        )

    @property
    def is_gross_harm(self) -> bool:
        """Whether the new model is worse by two percentage points with 97.5 % confidence.

        The estimate is too rough for other decisions.
        """
        return self.is_reliable and self.high < GROSS_HARM


def estimate_off_policy(
    rewards: NDArray[np.floating],
    old: NDArray[np.floating],
    new: NDArray[np.floating],
    listeners: NDArray[np.integer],
    *,
    seed: int,
) -> OffPolicyEstimate:
    """Estimate the new model's reward by self-normalised importance sampling.

    With rewards r, probabilities pi, the estimate V_new and the effective sample size ESS:

        w = pi_new / pi_old,  V_new = sum(w r) / sum(w),  ESS = sum(w)^2 / sum(w^2)

    Args:
        rewards: reward of each list's first song, 0 to 1; shape (n_lists,), like all arguments.
        old, new: probability with which each model draws that song; `old` above 0.

    Source:
        Swaminathan and Joachims, "The self-normalized estimator for counterfactual learning", NeurIPS 2015.
    """
    # Only the first song of each list counts: at later positions, songs that the old model would never have
    # offered bias the estimate upwards.
    if not len(rewards):
        return OffPolicyEstimate(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0)
    weights = np.asarray(new, dtype=np.float64) / np.asarray(old, dtype=np.float64)
    _, owners = np.unique(listeners, return_inverse=True)
    n_listeners = int(owners.max()) + 1
    # The bootstrap draws listeners instead of lists, because lists of one listener are not independent.
    sums = np.stack(
        [
            np.bincount(owners, values, n_listeners)
            for values in (weights * rewards, weights, rewards, np.ones(len(weights)))
        ]
    )
    uniform = np.full(n_listeners, 1 / n_listeners)
    times = np.random.default_rng(seed).multinomial(n_listeners, uniform, size=BOOTSTRAPS)
    drawn = times.astype(np.float64) @ sums.T
    differences = _ratio(drawn[:, 0], drawn[:, 1]) - _ratio(drawn[:, 2], drawn[:, 3])
    low, high = np.quantile(differences, [1 - QUANTILE, QUANTILE])
    totals = sums.sum(axis=1)
    squares = float((weights**2).sum())
    effective = float(weights.sum()) ** 2 / squares / len(weights) if squares else 0.0
    return OffPolicyEstimate(
        new=float(_ratio(totals[0], totals[1])), old=float(_ratio(totals[2], totals[3])), low=float(low),
        high=float(high), support=float(weights.mean()), effective=effective, listeners=n_listeners,
    )  # fmt: skip


def _ratio(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    ratio: NDArray[np.float64] = numerator / np.maximum(denominator, 1e-12)
    return ratio
