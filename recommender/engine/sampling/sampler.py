"""The draw: clusters compete for each place of a list, and every pick's probability is known.

At each place every cluster offers its best remaining song, and one of them is drawn with probability

    pi = (1 - floor) b e^(v / t) / (sum of the same over all offers) + floor / G,
    b = a + even e^(-T) / C,
    t = T, but for v < 0 where T > lag: the larger of lag and T - lag

a the listener's affinity for the cluster, v the song's value, T the temperature, G the number of offers, C
that of the pool's clusters, even and lag the formula's. The even part in b keeps songs of clusters not played
yet in the draw, and fades as the draw gets hot, where engagement alone decides. Songs below the twentieth are
so many that together they would take a quarter of a list at T = .2: they get hot later than the others. What
each part is worth stands in docs/decisions.md.
Songs that may not appear are removed before the offers are made, so that pi is exact.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import accumulate
from typing import Final

import numpy as np
from numpy.typing import NDArray

# A list's best songs have values from 1 down to 0 at the twentieth.
SCALED_SONGS: Final = 20
PROPENSITY_FLOOR: Final = 0.02
MOST_TEMPERATURE: Final = 5.0  # a temperature at which values no longer matter
NEUTRAL_DISCOVERY: Final = 0.3  # the discovery at which nothing is tilted
NEW_ARTIST_TILT: Final = 2.0
# Doubles lose digits below 1e-308: weights that add to less than this are measured anew, from the best offer.
LEAST_WEIGHT_SUM: Final = 1e-200


@dataclass(frozen=True, slots=True)
class DrawFormula:
    """What has changed of the draw over time: a list is drawn again by the formula it was drawn by.

    Attributes:
        even: of the affinities' sum, spread over all clusters at temperature 0.
        lag: the temperature that songs below the twentieth stay at, until the others are twice as hot; from
            there on they follow at this distance.
        fade: a temperature from which on the tilt grows with it. Divided by a temperature that grows faster
            than itself it would fade, and who asks for most that is new would get less of it.
    """

    even: float
    lag: float
    fade: float


FORMULA_V1: Final = DrawFormula(even=0.5, lag=0.0, fade=math.inf)
# As much even as engaged, for .5 lost .7 % of NDCG at T = .2. Up to T = .1 the usual draw is left as it is.
# From discovery .75 on, which is T = .7, fewer new artists came with each step.
LATEST_FORMULA: Final = DrawFormula(even=1.0, lag=0.1, fade=0.7)


@dataclass(frozen=True, slots=True)
class Pick:
    """One place of a list: which song of the pool, and how probable that was given the places before."""

    index: int
    propensity: float


@dataclass(frozen=True)
class CandidatePool:
    """What may be drawn; entry i of every array is one song.

    Attributes:
        songs: ids or columns, for the caller alone.
        values: higher is better; see `values`.
        clusters: each song's position among `affinities`.
        artists: equal where the artist is.
        affinities: shape (n_clusters,), the listener's share of engagement in each cluster.
        eligible: False for songs that may not appear; None: all may.
        formula: what the draw goes by.
    """

    songs: NDArray[np.int64]
    values: NDArray[np.float64]
    clusters: NDArray[np.integer]
    artists: NDArray[np.integer]
    affinities: NDArray[np.float64]
    eligible: NDArray[np.bool_] | None = None
    formula: DrawFormula = LATEST_FORMULA


def draw_picks(
    pool: CandidatePool,
    *,
    n: int,
    temperature: float,
    seed: str,
    artist_cap: int | None,
    floor: float = PROPENSITY_FLOOR,
    placed: Sequence[Pick] = (),
) -> list[Pick]:
    """The next n picks after those `placed`; fewer only where no more songs are eligible.

    A place's chance comes from the seed and the place alone, so that a list of 40 begins with the list of
    20, here and in any other process. At temperature 0 the best value is taken, by its number where values
    are equal: no chance, no affinity, no floor, and a propensity of 1.
    """
    offers = ClusterOffers(pool, temperature, artist_cap, placed)
    picks: list[Pick] = []
    for place in range(len(placed), len(placed) + n):
        if not offers.clusters:
            break
        pick = (
            offers.best_pick() if temperature <= 0 else offers.draw_pick(seeded_uniform(seed, place), floor)
        )
        offers.place_song(pick.index)
        picks.append(pick)
    return picks


def seeded_uniform(seed: str, place: int) -> float:
    """From 0 up to but without 1: the same for a seed and a place, in every process."""
    digest = blake2b(f"{seed}:{place}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def scale_scores(scores: NDArray[np.floating], n: int = SCALED_SONGS) -> NDArray[np.float64]:
    """Scores as the draw takes them: 1 for the second best, 0 for the n-th best (or the last of fewer)."""
    low, spread = score_scale(scores, n)
    return (np.asarray(scores, dtype=np.float64) - low) / spread


def score_scale(scores: NDArray[np.floating], n: int = SCALED_SONGS) -> tuple[float, float]:
    """What `values` takes off and divides by; (0, 1) of no scores.

    Measured from the second, for one song that stands far above all others would press the rest together,
    and make their draw a lottery. 1 where the best n don't differ.
    """
    if not len(scores):
        return 0.0, 1.0
    best = np.sort(np.asarray(scores, dtype=np.float64))[::-1]
    low = float(best[min(n, len(best)) - 1])
    return low, float(best[min(1, len(best) - 1)]) - low or float(best[0]) - low or 1.0


def discovery_to_temperature(discovery: float) -> float:
    """0 at discovery 0, the measured .1 at .3, so hot at 1 that affinities alone decide."""
    if discovery >= 1:
        return MOST_TEMPERATURE
    return min(MOST_TEMPERATURE, 7 / 30 * discovery / (1 - discovery))


def new_artist_bonus(discovery: float, temperature: float, formula: DrawFormula = LATEST_FORMULA) -> float:
    """What a song by an unplayed artist gains in value: nothing at the usual discovery, less below it."""
    return NEW_ARTIST_TILT * (discovery - NEUTRAL_DISCOVERY) * max(1.0, temperature / formula.fade)


def _stretch_negatives(values: NDArray[np.float64], temperature: float, lag: float) -> NDArray[np.float64]:
    """Values below 0 so much lower that one temperature for all gives them their own."""
    if temperature <= lag:
        return values
    lengthened: NDArray[np.float64] = np.where(
        values < 0, values * (temperature / max(lag, temperature - lag)), values
    )
    return lengthened


class ClusterOffers:
    """Each cluster's best remaining song, and what it weighs."""

    def __init__(
        self, pool: CandidatePool, temperature: float, artist_cap: int | None, placed: Sequence[Pick]
    ) -> None:
        self._values: list[float] = _stretch_negatives(pool.values, temperature, pool.formula.lag).tolist()
        self._of: list[int] = pool.clusters.tolist()
        self._artists: list[int] = pool.artists.tolist()
        even = pool.formula.even * math.exp(-temperature) / max(1, len(set(self._of)))
        self._affinities = [share + even for share in pool.affinities.tolist()]
        self._temperature = temperature
        self._cap = math.inf if artist_cap is None else artist_cap
        self._taken = {pick.index for pick in placed}
        self._played: dict[int, int] = {}
        for pick in placed:
            artist = self._artists[pick.index]
            self._played[artist] = self._played.get(artist, 0) + 1
        self._queues = self._build_queues(pool)
        self._top = max(self._values, default=0.0)
        self._weights: dict[int, float] = {}
        for cluster in list(self._queues):
            self._refresh_offer(cluster)

    @property
    def clusters(self) -> dict[int, list[int]]:
        """Clusters that offer a song: its queue, the offer last."""
        return self._queues

    def best_pick(self) -> Pick:
        index = min(
            (queue[-1] for queue in self._queues.values()), key=lambda index: (-self._values[index], index)
        )
        return Pick(index, 1.0)

    def draw_pick(self, chance: float, floor: float) -> Pick:
        weights = self._weights
        reached = list(accumulate(weights.values()))
        if not LEAST_WEIGHT_SUM < reached[-1] < math.inf:
            weights = self._rescaled()
            reached = list(accumulate(weights.values()))
        total, even = reached[-1], floor / len(reached)
        # The first offer up to which the probabilities add to more than the chance.
        place = bisect_right(
            range(len(reached)), chance, key=lambda at: (1 - floor) * reached[at] / total + even * (at + 1)
        )
        # Rounded sums may end just below 1.
        cluster = list(weights)[min(place, len(reached) - 1)]
        return Pick(self._queues[cluster][-1], (1 - floor) * weights[cluster] / total + even)

    def propensity(self, index: int, floor: float) -> float:
        """The probability with which the next place falls to this song; 0 for one that is no offer."""
        cluster = self._of[index]
        if cluster not in self._queues or self._queues[cluster][-1] != index:
            return 0.0
        if self._temperature <= 0:
            return float(self.best_pick().index == index)
        weights, total = self._weights, sum(self._weights.values())
        if not LEAST_WEIGHT_SUM < total < math.inf:
            weights = self._rescaled()
            total = sum(weights.values())
        return (1 - floor) * weights[cluster] / total + floor / len(weights)

    def place_song(self, index: int) -> None:
        """Place a song, and renew the offers that are gone with it."""
        self._taken.add(index)
        if self._queues.get(self._of[index]):
            self._refresh_offer(self._of[index])
        self.count_artist(self._artists[index])

    def count_artist(self, artist: int) -> None:
        """A song by this artist was placed, of this pool or of another one."""
        self._played[artist] = self._played.get(artist, 0) + 1
        if self._played[artist] >= self._cap:
            artists = self._artists
            stale = [cluster for cluster, queue in self._queues.items() if artists[queue[-1]] == artist]
            for cluster in stale:
                self._refresh_offer(cluster)

    def _build_queues(self, pool: CandidatePool) -> dict[int, list[int]]:
        """Each cluster's eligible songs, the worst first; clusters by number."""
        order = np.argsort(-pool.values, kind="stable")[::-1]
        if pool.eligible is not None:
            order = order[pool.eligible[order]]
        queues: list[list[int]] = [[] for _ in self._affinities]
        clusters = self._of
        for index in order.tolist():
            queues[clusters[index]].append(index)
        return {cluster: queue for cluster, queue in enumerate(queues) if queue}

    def _refresh_offer(self, cluster: int) -> None:
        queue = self._queues[cluster]
        while queue and (
            queue[-1] in self._taken or self._played.get(self._artists[queue[-1]], 0) >= self._cap
        ):
            queue.pop()
        if not queue:
            del self._queues[cluster]
            self._weights.pop(cluster, None)
        elif self._temperature > 0:
            power = (self._values[queue[-1]] - self._top) / self._temperature
            self._weights[cluster] = self._affinities[cluster] * math.exp(min(power, 700.0))

    def _rescaled(self) -> dict[int, float]:
        """The weights where they have all but vanished; where no cluster on offer is liked, all are alike."""
        offers = {cluster: self._values[queue[-1]] for cluster, queue in self._queues.items()}
        liked = {cluster: self._affinities[cluster] for cluster in offers}
        if not any(liked.values()):
            liked = dict.fromkeys(offers, 1.0)
        # From the best of what is liked, so that its weight can't vanish.
        top = max(value for cluster, value in offers.items() if liked[cluster] > 0)
        return {
            cluster: liked[cluster] * math.exp(min((value - top) / self._temperature, 700.0))
            for cluster, value in offers.items()
        }
