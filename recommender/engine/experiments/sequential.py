"""Sequential tests, valid however often the data is checked.

E-values test shares; confidence sequences estimate means.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaln

# The beta prior weighs as much as 40 observations; the test is strongest for shares about .1 off the plan.
PRIOR_COUNT: Final = 20.0
FAILURE_PRIOR: Final = (0.5, 4.5)  # Beta distribution of the share of requests that a broken model fails
ALPHA: Final = 0.05
LARGEST_Z: Final = 1e9
SHARE_EDGE: Final = 1e-6  # smallest share that an interval can end at
BISECTIONS: Final = 20  # a precision of one millionth


def log_e_value_of_difference(wins: float, losses: float) -> float:
    """Natural log of the e-value against the hypothesis that both models win equally often.

    From ln 20 on the hypothesis is rejected at alpha = .05. With W wins and L losses:

        ln E = lnBeta(20 + W, 20 + L) - lnBeta(20, 20) + (W + L) ln 2

    Source:
        Lindon and Malek, "Anytime-valid inference for multinomial count data", NeurIPS 2022
        (arXiv 2011.03567).
    """
    return log_e_value_of_share(wins, losses, 0.5)


def log_e_value_of_share(inside: float, outside: float, share: float) -> float:
    """Natural log of the e-value against membership in a group with probability `share`; 0 < share < 1.

    With p = share, n1 observations inside the group, n2 outside it and a Beta(40 p, 40 (1 - p)) prior:

        ln E = lnBeta(40 p + n1, 40 (1 - p) + n2) - lnBeta(40 p, 40 (1 - p)) - n1 ln p - n2 ln(1 - p)

    Source: see `log_e_value_of_difference`.
    """
    a, b = 2 * PRIOR_COUNT * share, 2 * PRIOR_COUNT * (1 - share)
    likelihood = inside * math.log(share) + outside * math.log1p(-share)
    return float(betaln(a + inside, b + outside) - betaln(a, b)) - likelihood


def log_e_value_of_failures(failures: int, successes: int, share: float) -> float:
    """Natural log of the e-value against "each request fails with probability `share`", a small share.

    The prior expects a tenth to fail: 3 failures of 20 refute 1 %, where `log_e_value_of_share` needs 5.
    """
    a, b = FAILURE_PRIOR
    likelihood = failures * math.log(share) + successes * math.log1p(-share)
    return float(betaln(a + failures, b + successes) - betaln(a, b)) - likelihood


def log_e_value_of_losing(wins: float, losses: float) -> float:
    """Natural log of the e-value for "the model loses more rounds than it wins".

    It is -inf if I is 0 in doubles. With W wins and L losses:

        ln E1 = ln E + ln(2 I_1/2(20 + W, 20 + L))

    E is the e-value of `log_e_value_of_difference`; I, the regularised incomplete beta function, is the
    posterior probability of a win share below one half.
    """
    losing = float(betainc(PRIOR_COUNT + wins, PRIOR_COUNT + losses, 0.5))
    return log_e_value_of_difference(wins, losses) + math.log(2 * losing) if losing > 0 else -math.inf


def win_share_interval(wins: float, losses: float, *, alpha: float = ALPHA) -> tuple[float, float]:
    """Interval for the share of rounds that the challenger wins; valid however often it is checked."""
    # The interval holds the shares that `log_e_value_of_share` does not reject. So .5 lies outside exactly
    # when `log_e_value_of_difference` rejects.
    if not wins + losses:
        return 0.0, 1.0
    limit = -math.log(alpha)
    # The observed share is never rejected, because no mixture over shares has a higher likelihood.
    likeliest = min(max(wins / (wins + losses), SHARE_EDGE), 1 - SHARE_EDGE)

    def bound(edge: float) -> float:
        refuted, possible = edge, likeliest
        for _ in range(BISECTIONS):
            middle = (refuted + possible) / 2
            if log_e_value_of_share(wins, losses, middle) >= limit:
                refuted = middle
            else:
                possible = middle
        return possible

    return bound(SHARE_EDGE), bound(1 - SHARE_EDGE)


@dataclass(frozen=True)
class DifferenceInterval:
    """A difference of means with an interval that is valid however often it is checked."""

    difference: float  # mean of the treated minus mean of the others
    half_width: float  # infinite if there are fewer than two values on a side

    @property
    def low(self) -> float:
        return self.difference - self.half_width

    @property
    def high(self) -> float:
        return self.difference + self.half_width


def confidence_sequence(
    treated: NDArray[np.float64], others: NDArray[np.float64], *, planned: int, alpha: float = ALPHA
) -> DifferenceInterval:
    """Confidence interval for a difference of means; asymptotically valid at any time.

    Args:
        treated, others: one value per listener; shapes (n,) and (m,).
        planned: the number of listeners at which the interval is tightest, fixed at the start.

    Source:
        Waudby-Smith et al., "Time-uniform central limit theory and asymptotic confidence sequences", Annals
        of Statistics 2024 (arXiv 2103.06476); Welch's standard error.
    """
    if min(len(treated), len(others)) < 2:
        mean = treated.mean() - others.mean() if len(treated) and len(others) else 0.0
        return DifferenceInterval(float(mean), math.inf)
    n = len(treated) + len(others)
    error = math.sqrt(treated.var(ddof=1) / len(treated) + others.var(ddof=1) / len(others))
    rho2 = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / planned
    factor = 2 * (n * rho2 + 1) / (n**2 * rho2) * math.log(math.sqrt(n * rho2 + 1) / alpha)
    difference = float(treated.mean() - others.mean())
    return DifferenceInterval(difference, error * math.sqrt(n) * math.sqrt(factor))


def adjust_by_cuped(values: NDArray[np.float64], pre_experiment: NDArray[np.float64]) -> NDArray[np.float64]:
    """Remove what the same listeners' earlier values explain (CUPED); the mean does not change.

    With the values Y and the earlier values X:

        Y' = Y - theta (X - mean X), theta = cov(Y, X) / var(X)

    Source:
        Deng et al., "Improving the sensitivity of online controlled experiments by utilizing pre-experiment
        data", WSDM 2013.
    """
    spread = pre_experiment.var() if len(pre_experiment) else 0.0
    if spread == 0:
        return values
    theta = ((values - values.mean()) * (pre_experiment - pre_experiment.mean())).mean() / spread
    adjusted_values: NDArray[np.float64] = values - theta * (pre_experiment - pre_experiment.mean())
    return adjusted_values


def listener_z_score(balances: NDArray[np.float64]) -> float:
    """Mean balance over its standard error; 0 for fewer than two listeners.

    Plus or minus `LARGEST_Z` if all balances are equal and not 0, because JSON has no infinity.
    """
    if len(balances) < 2:
        return 0.0
    error = balances.std(ddof=1) / math.sqrt(len(balances))
    if error == 0:
        return math.copysign(LARGEST_Z, balances[0]) if balances[0] else 0.0
    return float(balances.mean() / error)


def sign_z_score(winners: int, losers: int, ties: int) -> float:
    """z of the sign test over listeners; ties count half."""
    total = winners + losers + ties
    return (winners - losers) / math.sqrt(total) if total else 0.0
