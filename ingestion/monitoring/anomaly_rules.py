"""How each measure of a run is compared: on which scale, how closely, and on which side it is a trouble."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

# From so many rows a day on, counting alone never makes six times as many (5 -> 30: 1 in 10^13) ...
SEVERAL: Final = 5.0
# ... or none (10 -> 0: 1 in 20 000).
MANY: Final = 10.0


class Scale(NamedTuple):
    """Where values of a kind vary alike, whatever their size; `back` leads from there to rows or seconds."""

    there: Callable[[float], float]
    back: Callable[[float], float]


# Variance of healthy daily counts: mean + (20 % of the mean) squared; their deviation is 1 on this scale.
# Source: Anscombe, "The transformation of Poisson, binomial and negative-binomial data", Biometrika 1948.
DISPERSION: Final = 0.2**2
_ROOT: Final = math.sqrt(DISPERSION)
COUNT: Final = Scale(
    lambda x: 2 / _ROOT * math.asinh(math.sqrt(DISPERSION * (x + 0.375))),
    lambda y: max(math.sinh(max(y, 0.0) * _ROOT / 2) ** 2 / DISPERSION - 0.375, 0.0),
)
# A millisecond is nothing, and has a logarithm.
LOG: Final = Scale(lambda x: math.log(max(x, 0.001)), math.exp)
PLAIN: Final = Scale(lambda x: x, lambda y: max(y, 0.0))


@dataclass(frozen=True)
class Rule:
    """How a measure is compared.

    Attributes:
        floor: the least standard deviation, on the scale.
        relative: the least standard deviation as a share of the median (plain scale only).
        factor: edges are at least so many times away from the median.
        most: the upper edge is at most so many times the median, if that is `SEVERAL`.
        absolute: edges are at least so far from the median, in the measure's unit.
        of_rows: edges are at least this share of the rows read away.
        rows: a share's edges are at least so many rows, or requests, away.
        lows, highs: whether leaving the band on that side is sure to be a trouble.
        trend: the measure adds up over the days, or follows one that does.
        is_news: it grows with the time since the run before.
        of_work: it says nothing of a run that took up the pages of a dead one.
        least_rows: new and changed rows under which it says nothing.
        certain: above this share of the known rows it is a trouble before anything was learnt.
    """

    measure: str
    resources: tuple[str, ...]
    scale: Scale
    floor: float
    relative: float = 0.0
    factor: float = 1.0
    most: float = math.inf
    absolute: float = 0.0
    of_rows: float = 0.0
    rows: float = 0.0
    lows: bool = False
    highs: bool = True
    trend: bool = False
    is_news: bool = False
    of_work: bool = False
    least_rows: int = 0
    certain: float = math.inf


SONGS, USERS, HISTORY = "songs", "users", "listening_history"
ALL: Final = (SONGS, USERS, HISTORY)
RUN: Final = ("",)
RULES: Final = (
    # 3 %: lists grow and shrink by less in a day. Two rows: below that nothing can be told apart.
    Rule("received", ALL, PLAIN, 2.0, relative=0.03, lows=True, trend=True),
    # Albums come in bursts, and an office may add no song on a Sunday.
    Rule("new", (SONGS, USERS), COUNT, 1.0, factor=4.0, most=6.0, is_news=True),
    # Somebody listens every day.
    Rule("new", (HISTORY,), COUNT, 1.0, factor=2.0, most=6.0, lows=True, is_news=True),
    Rule("changed", ALL, COUNT, 1.0, factor=4.0, absolute=10.0, is_news=True),
    # Sources tidy up: a few rows in a hundred that go are no trouble, and a toy loses ten. A quarter of them
    # at once is one in any week; more than half is refused.
    Rule("missing", (SONGS, USERS), COUNT, 1.0, absolute=10.0, of_rows=0.03, certain=0.25),
    # A listener who goes takes all sessions along: of 80, an eager one had 5 % of them.
    Rule("missing", (HISTORY,), COUNT, 1.0, absolute=10.0, of_rows=0.1),
    Rule("rejected_share", ALL, PLAIN, 0.002, absolute=0.01, rows=10.0),
    # Each failed attempt was repeated with success, or the run would have failed: a bad night has 4 %.
    Rule("error_share", RUN, PLAIN, 0.01, absolute=0.1, rows=8.0, of_work=True),
    # A busy machine takes some seconds longer; a night that takes twice as long harms nobody.
    Rule("duration", RUN, LOG, 0.1, factor=2.3, absolute=5.0, lows=True, trend=True, of_work=True),
    # The 95th percentile of fewer rows is a single row.
    Rule("latency_p95", ALL, LOG, 0.1, factor=2.0, absolute=3600.0, is_news=True, least_rows=20),
    # Kept for the charts: a shared process and machine decide them too.
    Rule("cpu_seconds", RUN, LOG, 0.1, factor=2.0, absolute=5.0, highs=False, of_work=True),
    Rule("peak_memory", RUN, LOG, 0.05, factor=1.5, absolute=50e6, highs=False, of_work=True),
)  # fmt: skip
