"""Weighted random draw of a list from scored candidates, with the exact probability of every pick.

At each position every cluster offers its best remaining song, and the draw picks one of these offers with
the probability (propensity)

    pi = (1 - floor) b e^(v / t) / (sum of the same over all offers) + floor / G,
    b = a + even e^(-T) / C,
    t = T, or max(lag, T - lag) for a song with v < 0 if T > lag,
    T = asked^2 / (asked + cooling),

with the listener's affinity a for the cluster, the song's value v (scaled score), the asked temperature,
the number of offers G and the number of clusters C in the pool. `DrawFormula` has the constants;
docs/decisions/lists.md has the measurements. Excluded songs are removed before clusters make offers, so
that pi is exact.
"""

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import accumulate
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recommender.engine.sampling.quotas import Quotas, allowed_kinds

RECORDINGS_BELOW: Final = -(2**32)  # codes below it are recordings, all others artists
ARTIST_CAP: Final = 2  # songs by one artist in a list
SCALED_SONGS: Final = 20  # values run from 1 for the second best song to 0 for the twentieth
PROPENSITY_FLOOR: Final = 0.02
MOST_TEMPERATURE: Final = 5.0  # here values no longer matter
NEUTRAL_DISCOVERY: Final = 0.3  # here new artists get neither a bonus nor a penalty
NEW_ARTIST_TILT: Final = 2.0
NEW_SONG_BLOCK: Final = 20  # `new_places` counts the places for new songs in this many places
FIRST_NEW_SONG_PLACE: Final = 10  # earlier places of a block are never for new songs
MOST_NEW_OFFERS: Final = 20  # new songs that a place offers
NEW_SONG_TEMPERATURE: Final = 0.25  # of their values, which are sums of z-scores
# Smaller sums of weights are rescaled to the best offer, because doubles lose digits below 1e-308.
LEAST_WEIGHT_SUM: Final = 1e-200


@dataclass(frozen=True, slots=True)
class DrawFormula:
    """Constants of the draw that changed between versions; earlier ones are kept for replays."""

    # Weight that all clusters share evenly at temperature 0, as a multiple of the sum of the affinities.
    even: float
    # Songs below the twentieth stay at this temperature until T is twice as high. Above that they have the
    # temperature T - lag.
    lag: float
    # Above this temperature the new-artist bonus grows with T. A constant bonus would shrink when it is
    # divided by T, and the highest discovery would give fewer new artists.
    fade: float
    # Low temperatures are lowered much, high ones hardly; 0: temperatures are used as asked.
    cooling: float = 0.0

    def cool(self, temperature: float) -> float:
        return (
            temperature**2 / (temperature + self.cooling) if self.cooling and temperature > 0 else temperature
        )


FORMULA_V1: Final = DrawFormula(even=0.5, lag=0.0, fade=math.inf)
# even: .5 lost .7 % of NDCG at T = .2. lag: the default T = .1 is not affected.
# fade: above T = .7 (discovery .75) each higher discovery level gave fewer new artists.
FORMULA_V2: Final = DrawFormula(even=1.0, lag=0.1, fade=0.7)
# cooling: a T of .2 cost up to 9 % of NDCG, so that a baseline could win; now at most 2 %. With .6 it cost
# 2.3 % on listening sessions, where the best baseline is 2 % below the ranking.
# fade: at lower temperatures the scores weigh more, and so must the bonus.
LATEST_FORMULA: Final = DrawFormula(even=1.0, lag=0.1, fade=0.3, cooling=1.0)


@dataclass(frozen=True, slots=True)
class Pick:
    """A song's index in the pool, and the probability of the pick."""

    index: int
    propensity: float


@dataclass(frozen=True)
class CandidatePool:
    """The songs from which a list is drawn; entry i of every array describes the same song."""

    songs: NDArray[np.int64]  # ids or columns; the draw does not read them
    values: NDArray[np.float64]  # higher is better; see `scale_scores`
    clusters: NDArray[np.integer]  # each song's index in `affinities`
    artists: NDArray[np.integer]  # artist codes; songs by the same artist have the same code
    affinities: NDArray[np.float64]  # shape (n_clusters,), the listener's share of engagement in each cluster
    eligible: NDArray[np.bool_] | None = None  # False for excluded songs; None: no song is excluded
    formula: DrawFormula = LATEST_FORMULA  # constants of the draw
    # Further codes of each song, by index: other artists, which count towards the cap like the first one, and
    # recordings (codes below RECORDINGS_BELOW), of which a list has one copy.
    further_codes: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    quotas: Quotas | None = None  # None: no kind of song has a fixed share of the list
    # Songs that only the places for new songs offer; None: there are none. Their values have a scale of
    # their own, and their clusters don't count.
    new_songs: NDArray[np.bool_] | None = None
    new_places: int = 0  # how many of every 20 places are for new songs


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
    """The next n picks after `placed`; fewer only if no more songs are eligible.

    Random numbers depend only on seed and position, so a longer list begins with the same songs. At
    temperature 0 the best value is picked (the lower index wins ties), with propensity 1.
    """
    offers = ListOffers(pool, temperature, artist_cap, placed)
    picks: list[Pick] = []
    for place in range(len(placed), len(placed) + n):
        if not offers.has_offers:
            break
        pick = (
            offers.best_pick() if temperature <= 0 else offers.draw_pick(seeded_uniform(seed, place), floor)
        )
        offers.place_song(pick.index)
        offers.count_kind(offers.kind_of(pick.index))
        picks.append(pick)
    return picks


def seeded_uniform(seed: str, place: int) -> float:
    """A random number in [0, 1) that is the same in every process."""
    digest = blake2b(f"{seed}:{place}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def scale_scores(scores: NDArray[np.floating], n: int = SCALED_SONGS) -> NDArray[np.float64]:
    """Scale scores so that the second best is 1 and the n-th best (or the last of fewer) is 0."""
    low, spread = score_scale(scores, n)
    return (np.asarray(scores, dtype=np.float64) - low) / spread


def score_scale(scores: NDArray[np.floating], n: int = SCALED_SONGS) -> tuple[float, float]:
    """Offset and divisor of `scale_scores`; (0, 1) without scores."""
    # The scale starts at the second best score, because one song far above all others would leave the
    # others almost equal. The divisor is 1 if the best n scores are equal.
    if not len(scores):
        return 0.0, 1.0
    best = np.sort(np.asarray(scores, dtype=np.float64))[::-1]
    low = float(best[min(n, len(best)) - 1])
    return low, float(best[min(1, len(best) - 1)]) - low or float(best[0]) - low or 1.0


def discovery_to_temperature(discovery: float) -> float:
    """The temperature of a discovery: 0 at 0, .1 at .3, and 5 at 1 (only affinities decide)."""
    if discovery >= 1:
        return MOST_TEMPERATURE
    return min(MOST_TEMPERATURE, 7 / 30 * discovery / (1 - discovery))


def new_artist_bonus(discovery: float, temperature: float, formula: DrawFormula = LATEST_FORMULA) -> float:
    """Value added to songs by unplayed artists; negative below discovery .3."""
    return NEW_ARTIST_TILT * (discovery - NEUTRAL_DISCOVERY) * max(1.0, temperature / formula.fade)


def _stretch_negatives(values: NDArray[np.float64], temperature: float, lag: float) -> NDArray[np.float64]:
    """Stretch values v < 0 so that division by `temperature` gives v / max(lag, temperature - lag)."""
    if temperature <= lag:
        return values
    stretched: NDArray[np.float64] = np.where(
        values < 0, values * (temperature / max(lag, temperature - lag)), values
    )
    return stretched


def _codes_of_songs(pool: CandidatePool) -> list[tuple[int, ...]]:
    codes: list[tuple[int, ...]] = list(zip(pool.artists.tolist()))
    for index, further in pool.further_codes.items():
        codes[index] += further
    return codes


class _PoolState:
    """The songs of a pool that may still be picked, by kind and cluster; what all sets of kinds share.

    Lists instead of arrays, because they are faster to index.
    """

    def __init__(
        self,
        pool: CandidatePool,
        temperature: float,
        artist_cap: int | None,
        placed: Sequence[Pick],
    ) -> None:
        self.temperature = pool.formula.cool(temperature)
        is_new = np.zeros(len(pool.songs), dtype=np.bool_) if pool.new_songs is None else pool.new_songs
        stretched = _stretch_negatives(pool.values, self.temperature, pool.formula.lag)
        values = np.where(is_new, pool.values, stretched)
        self.values: list[float] = values.tolist()
        self._unstretched: list[float] = pool.values.tolist()
        self.is_new: list[bool] = is_new.tolist()
        self.clusters: list[int] = pool.clusters.tolist()
        self.kinds: list[int] = pool.quotas.kinds.tolist() if pool.quotas else [0] * len(pool.songs)
        self.codes = _codes_of_songs(pool)
        n_clusters = len(np.unique(pool.clusters[~is_new]))
        even = pool.formula.even * math.exp(-self.temperature) / max(1, n_clusters)
        self.affinities = [share + even for share in pool.affinities.tolist()]
        self.top = float(values[~is_new].max()) if not is_new.all() else 0.0
        self.new_places, self.place, self.new_in_block = pool.new_places, 0, 0
        self._cap = math.inf if artist_cap is None else artist_cap
        self._placed = {pick.index for pick in placed}
        self._per_code: Counter[int] = Counter()
        self._codes_at_cap: set[int] = (
            set() if self._cap > 0 else {code for one in self.codes for code in one}
        )
        for pick in placed:
            self.count_codes(self.codes[pick.index])
            self.end_place(is_new=self.is_new[pick.index])
        # By kind and cluster; the best song is the last one.
        self._queues: dict[int, dict[int, list[int]]] = {}
        self.new_best_first: list[int] = []
        self._fill_queues(pool, is_new)

    def _fill_queues(self, pool: CandidatePool, is_new: NDArray[np.bool_]) -> None:
        best_first = np.argsort(-pool.values, kind="stable")
        if pool.eligible is not None:
            best_first = best_first[pool.eligible[best_first]]
        if pool.new_places:
            self.new_best_first = best_first[is_new[best_first]].tolist()
        kinds, clusters, queues = self.kinds, self.clusters, self._queues
        for index in best_first[~is_new[best_first]][::-1].tolist():
            by_cluster = queues.setdefault(kinds[index], {})
            if (queue := by_cluster.get(clusters[index])) is None:
                by_cluster[clusters[index]] = [index]
            else:
                queue.append(index)

    def queues_of(self, kinds: frozenset[int] | None) -> list[dict[int, list[int]]]:
        """The queues of each of these kinds; None: of all kinds."""
        return [queues for kind, queues in self._queues.items() if kinds is None or kind in kinds]

    def best_of(self, queues: Iterable[list[int]]) -> int | None:
        """The best song of these queues that may still be picked; ties go to the lower index."""
        values, best = self._unstretched, None
        # Written out in each method: a list takes a thousand of these tests, which calls make much slower.
        placed, codes, is_free = self._placed, self.codes, self._codes_at_cap.isdisjoint
        for queue in queues:
            while queue and ((index := queue[-1]) in placed or not is_free(codes[index])):
                queue.pop()
            if queue and (best is None or (-values[queue[-1]], queue[-1]) < (-values[best], best)):
                best = queue[-1]
        return best

    def capped_clusters(self, offers: Mapping[int, int]) -> list[int]:
        """The clusters whose song in `offers` has a code at its cap."""
        codes, is_free = self.codes, self._codes_at_cap.isdisjoint
        return [cluster for cluster, index in offers.items() if not is_free(codes[index])]

    def first_free(self, songs: Iterable[int], most: int) -> list[int]:
        """The first songs that may still be picked, at most `most`."""
        placed, codes, is_free = self._placed, self.codes, self._codes_at_cap.isdisjoint
        found: list[int] = []
        for index in songs:
            if index not in placed and is_free(codes[index]):
                found.append(index)
                if len(found) == most:
                    break
        return found

    def remove(self, index: int) -> None:
        self._placed.add(index)

    def count_codes(self, codes: tuple[int, ...]) -> bool:
        """Count the codes of a picked song; returns whether one of them has just reached its cap."""
        has_reached = False
        for code in codes:
            self._per_code[code] += 1
            if self._per_code[code] >= (1 if code < RECORDINGS_BELOW else self._cap):
                has_reached = has_reached or code not in self._codes_at_cap
                self._codes_at_cap.add(code)
        return has_reached

    def end_place(self, *, is_new: bool) -> None:
        self.place += 1
        self.new_in_block += is_new
        if self.place % NEW_SONG_BLOCK == 0:
            self.new_in_block = 0


class ClusterOffers:
    """Each cluster's best remaining song of some kinds, and its weight.

    A place for a new song offers the best new songs of these kinds.
    """

    def __init__(self, state: _PoolState, kinds: frozenset[int] | None) -> None:
        """`kinds` None: all kinds."""
        self._state, self._values = state, state.values
        self._temperature = state.temperature
        self._queues: dict[int, list[list[int]]] = {}
        by_kind = state.queues_of(kinds)
        for cluster in sorted({cluster for queues in by_kind for cluster in queues}):
            self._queues[cluster] = [queues[cluster] for queues in by_kind if cluster in queues]
        self._new_queue = [
            index for index in state.new_best_first if kinds is None or state.kinds[index] in kinds
        ]
        # Each cluster's best song and its weight, in ascending order of clusters.
        self._offers: dict[int, int] = {}
        self._weights: dict[int, float] = {}
        for cluster in self._queues:
            self._find_offer(cluster)

    @property
    def has_offers(self) -> bool:
        return self.has_known_offers or bool(self._new_offers())

    @property
    def has_known_offers(self) -> bool:
        return bool(self._offers)

    def best_pick(self) -> Pick:
        if not self._offers:
            return Pick(self._new_offers()[0], 1.0)
        index = min(self._offers.values(), key=lambda index: (-self._values[index], index))
        return Pick(index, 1.0)

    def draw_pick(self, chance: float, floor: float) -> Pick:
        """Draw an offer by the inverse of the cumulative distribution; `chance` is uniform in [0, 1)."""
        new_share = self._new_song_chance()
        if not new_share:
            return self._draw_known(chance, floor)
        if chance < new_share:
            return self._draw_new(chance / new_share, new_share, floor)
        pick = self._draw_known((chance - new_share) / (1 - new_share), floor)
        return Pick(pick.index, (1 - new_share) * pick.propensity)

    def _draw_new(self, chance: float, share: float, floor: float) -> Pick:
        offers = self._new_offers()
        probabilities = self._new_probabilities(offers, floor)
        cumulative = list(accumulate(probabilities))
        drawn = min(bisect_right(cumulative, chance), len(offers) - 1)
        return Pick(offers[drawn], share * probabilities[drawn])

    def _draw_known(self, chance: float, floor: float) -> Pick:
        weights = self._weights
        cumulative = list(accumulate(weights.values()))
        if not LEAST_WEIGHT_SUM < cumulative[-1] < math.inf:
            weights = self._rescaled_weights()
            cumulative = list(accumulate(weights.values()))
        total, share = cumulative[-1], floor / len(cumulative)
        drawn = bisect_right(
            range(len(cumulative)),
            chance,
            key=lambda at: (1 - floor) * cumulative[at] / total + share * (at + 1),
        )
        # Rounded sums may end just below 1.
        cluster = list(weights)[min(drawn, len(cumulative) - 1)]
        return Pick(self._offers[cluster], (1 - floor) * weights[cluster] / total + share)

    def propensity(self, index: int, floor: float) -> float:
        """Probability that this song is the next pick; 0 if it is not an offer."""
        new_share = self._new_song_chance()
        if self._state.is_new[index]:
            offers = self._new_offers() if new_share else []
            if index not in offers:
                return 0.0
            return new_share * self._new_probabilities(offers, floor)[offers.index(index)]
        probability = self._known_propensity(index, floor)
        return (1 - new_share) * probability if new_share else probability

    def _known_propensity(self, index: int, floor: float) -> float:
        cluster = self._state.clusters[index]
        if self._offers.get(cluster) != index:
            return 0.0
        if self._temperature <= 0:
            return float(self.best_pick().index == index)
        weights, total = self._weights, sum(self._weights.values())
        if not LEAST_WEIGHT_SUM < total < math.inf:
            weights = self._rescaled_weights()
            total = sum(weights.values())
        return (1 - floor) * weights[cluster] / total + floor / len(weights)

    def refresh_offer(self, cluster: int) -> None:
        """Replace the cluster's offer if its song was picked or is capped."""
        if cluster in self._offers:
            self._find_offer(cluster)

    def _find_offer(self, cluster: int) -> None:
        index = self._state.best_of(self._queues[cluster])
        if index is None:
            self._offers.pop(cluster, None)
            self._weights.pop(cluster, None)
            return
        self._offers[cluster] = index
        if self._temperature > 0:
            power = (self._values[index] - self._state.top) / self._temperature
            self._weights[cluster] = self._state.affinities[cluster] * math.exp(min(power, 700.0))

    def replace_capped_offers(self) -> None:
        for cluster in self._state.capped_clusters(self._offers):
            self.refresh_offer(cluster)

    def _new_song_chance(self) -> float:
        """The chance that this place is for a new song; each late place of a block is equally likely."""
        if not self._offers:
            return 1.0
        state = self._state
        at, left = state.place % NEW_SONG_BLOCK, state.new_places - state.new_in_block
        if at < FIRST_NEW_SONG_PLACE or left <= 0 or self._temperature <= 0 or not self._new_offers():
            return 0.0
        return min(1.0, left / (NEW_SONG_BLOCK - at))

    def _new_offers(self) -> list[int]:
        """The best new songs that may still be picked, best first."""
        return self._state.first_free(self._new_queue, MOST_NEW_OFFERS)

    def _new_probabilities(self, offers: list[int], floor: float) -> list[float]:
        top = self._values[offers[0]]
        weights = [math.exp((self._values[index] - top) / NEW_SONG_TEMPERATURE) for index in offers]
        total, share = sum(weights), floor / len(weights)
        return [(1 - floor) * weight / total + share for weight in weights]

    def _rescaled_weights(self) -> dict[int, float]:
        offers = {cluster: self._values[index] for cluster, index in self._offers.items()}
        affinities = {cluster: self._state.affinities[cluster] for cluster in offers}
        if not any(affinities.values()):
            affinities = dict.fromkeys(offers, 1.0)
        # The best offer with an affinity above 0 is the reference, so its weight can't underflow.
        top = max(value for cluster, value in offers.items() if affinities[cluster] > 0)
        return {
            cluster: affinities[cluster] * math.exp(min((value - top) / self._temperature, 700.0))
            for cluster, value in offers.items()
        }


class ListOffers:
    """Offers from the kinds of songs that may come next, see `Quotas`."""

    def __init__(
        self, pool: CandidatePool, temperature: float, artist_cap: int | None, placed: Sequence[Pick]
    ) -> None:
        self._shares = pool.quotas.shares if pool.quotas else (1.0,)
        self._counts = list(pool.quotas.counts) if pool.quotas else [0]
        self._every_kind = frozenset(range(len(self._shares)))
        self._state = _PoolState(pool, temperature, artist_cap, placed)
        # One set of offers for each set of kinds that was needed so far.
        self._offers: dict[frozenset[int], ClusterOffers] = {}
        self._current_offers: ClusterOffers | None = None  # None: not known since the last change
        for pick in placed:
            self.count_kind(self.kind_of(pick.index))

    @property
    def has_offers(self) -> bool:
        return self._current().has_offers

    def best_pick(self) -> Pick:
        return self._current().best_pick()

    def draw_pick(self, chance: float, floor: float) -> Pick:
        return self._current().draw_pick(chance, floor)

    def propensity(self, index: int, floor: float) -> float:
        return self._current().propensity(index, floor)

    def kind_of(self, index: int) -> int:
        return self._state.kinds[index]

    def count_kind(self, kind: int) -> None:
        self._counts[kind] += 1
        self._current_offers = None

    def is_new_song(self, index: int) -> bool:
        return self._state.is_new[index]

    def codes_of(self, index: int) -> tuple[int, ...]:
        return self._state.codes[index]

    def place_song(self, index: int, *, is_new: bool | None = None) -> None:
        """Remove a picked song, and replace offers that become ineligible.

        Args:
            is_new: whether a place for new songs offered it; None: as this pool says.
        """
        state = self._state
        state.remove(index)
        if not state.is_new[index]:
            for offers in self._offers.values():
                offers.refresh_offer(state.clusters[index])
        self.place_other_song(state.codes[index], is_new=state.is_new[index] if is_new is None else is_new)

    def place_other_song(self, codes: tuple[int, ...], *, is_new: bool) -> None:
        """Count a pick from any pool towards the caps and the places for new songs."""
        self._state.end_place(is_new=is_new)
        if self._state.count_codes(codes):
            for offers in self._offers.values():
                offers.replace_capped_offers()
        self._current_offers = None

    def _current(self) -> ClusterOffers:
        if self._current_offers is None:
            offers = self._offers_of(allowed_kinds(self._counts, self._shares))
            # If no song of these kinds is left, songs of the other kinds fill the list.
            self._current_offers = offers if offers.has_known_offers else self._offers_of(self._every_kind)
        return self._current_offers

    def _offers_of(self, kinds: frozenset[int]) -> ClusterOffers:
        if kinds not in self._offers:
            self._offers[kinds] = ClusterOffers(self._state, None if kinds == self._every_kind else kinds)
        return self._offers[kinds]
