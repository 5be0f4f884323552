"""From a shelf's bytes to the songs of a list, page by page: what was asked decides what is given."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from recommender.engine.sampling import sampler
from recommender.engine.sampling.candidate_codec import CandidateArrays
from recommender.engine.sampling.interleaving import InterleavedPick, interleave
from recommender.engine.sampling.sampler import Pick

FAMILIAR: Final = 1  # the listener has played the artist
RERECOMMENDED: Final = 2  # heard, but long ago
COLD_START: Final = 4  # offered because it is popular: nothing that the listener played speaks for it
# Who asks for more that is new than this is not given again what was heard.
MAX_DISCOVERY_TO_RERECOMMEND: Final = 0.2
# The next song keeps the mood of the one before: its cluster's best song is put so far ahead of all others.
# At the usual temperature of .1 that wins seven times of eight against one rival.
PREFERRED_CLUSTER_LEAD: Final = 0.2
NO_CLUSTER: Final = -1  # of songs that no model has seen


@dataclass(frozen=True)
class ListPage:
    """What was asked for.

    Attributes:
        excluded: song ids that may not be drawn.
        near: a cluster's number whose songs are put forward; None: no such wish.
    """

    n: int
    excluded: tuple[int, ...] = ()
    preferred_cluster: int | None = None

    def as_json(self) -> dict[str, Any]:
        return {"n": self.n, "excluded": sorted(self.excluded), "near": self.preferred_cluster}

    @classmethod
    def from_json(cls, page: dict[str, Any]) -> "ListPage":
        return cls(page["n"], tuple(page["excluded"]), page.get("near"))

    def excluding(self, songs: Iterable[int]) -> "ListPage":
        return replace(self, excluded=tuple({*self.excluded, *songs}))


class PairedPropensities(NamedTuple):
    """Of an interleaved list's song: who drew it, and how probably each model would have, in its place."""

    by_challenger: bool
    p_champion: float
    p_challenger: float


class PickedSong(NamedTuple):
    """One song of a list.

    Attributes:
        affinity: the cluster's share of what the listener plays, 0 to 1; 0 where nothing is known.
        propensity: how probable this pick was, given those before it.
        pair: of an interleaved list.
    """

    song: int
    cluster: int | None
    affinity: float
    propensity: float
    familiar: bool
    rerecommended: bool
    cold_start: bool
    interleaved: PairedPropensities | None = None


@dataclass(frozen=True)
class DrawOptions:
    """What a list is drawn by, besides its shelf; `artist_cap` None: any number of songs an artist."""

    seed: str
    discovery: float
    temperature: float
    artist_cap: int | None


class ListSampler:
    """A list in the making: each page goes on where the last one ended."""

    def __init__(self, candidates: CandidateArrays, options: DrawOptions) -> None:
        self._candidates = candidates
        self._options = options
        self._placed: list[sampler.Pick] = []
        numbers = sorted(set(candidates.clusters.tolist()))
        self._numbers = np.array(numbers, dtype=np.int32)
        self._clusters = self._numbers.searchsorted(candidates.clusters)
        known = candidates.affinities
        # Nothing known, nothing preferred.
        shares = [known.get(number, 0.0) if known else 1.0 for number in numbers]
        self._affinities = np.array(shares, dtype=np.float64)
        self._formula = _formula_for(candidates)
        self._values = self._apply_discovery(candidates.values.astype(np.float64))

    def draw_page(self, page: ListPage) -> list[PickedSong]:
        """At most `page.n` more songs; fewer where no more are eligible."""
        terms = self._options
        picks = sampler.draw_picks(
            self.build_pool(page), n=page.n, temperature=terms.temperature, seed=terms.seed,
            artist_cap=terms.artist_cap, placed=self._placed,
        )  # fmt: skip
        self._placed += picks
        return self.describe_picks(picks)

    def build_pool(self, page: ListPage) -> sampler.CandidatePool:
        """What may be drawn for this page, all that was placed included."""
        eligible = self._eligible(page)
        values, affinities = self._prefer_cluster(page.preferred_cluster, eligible)
        return sampler.CandidatePool(
            songs=self._candidates.songs,
            values=values,
            clusters=self._clusters,
            artists=self._candidates.artists,
            affinities=affinities,
            eligible=eligible,
            formula=self._formula,
        )

    def undo_last(self, count: int) -> None:
        """Take the last `count` songs back; the next page is drawn as if they had never been."""
        del self._placed[len(self._placed) - count :]

    def _prefer_cluster(
        self, number: int | None, eligible: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Values and affinities with this cluster put forward, however little the listener plays of it."""
        if number is None:
            return self._values, self._affinities
        near = self._candidates.clusters == number
        if not (near & eligible).any():
            return self._values, self._affinities
        lift = self._values[eligible].max() - self._values[near & eligible].max() + PREFERRED_CLUSTER_LEAD
        affinities = np.where(self._numbers == number, self._affinities.max(), self._affinities)
        return self._values + lift * near, affinities

    def _apply_discovery(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        unfamiliar = self._candidates.flags & (FAMILIAR | RERECOMMENDED) == 0
        terms = self._options
        tilt = sampler.new_artist_bonus(terms.discovery, terms.temperature, self._formula)
        tilted: NDArray[np.float64] = values + tilt * unfamiliar
        return tilted

    def _eligible(self, page: ListPage) -> NDArray[np.bool_]:
        eligible = np.ones(len(self._candidates.songs), dtype=np.bool_)
        if page.excluded:
            eligible = ~np.isin(self._candidates.songs, np.array(page.excluded, dtype=np.int64))
        if self._options.discovery > MAX_DISCOVERY_TO_RERECOMMEND:
            eligible &= self._candidates.flags & RERECOMMENDED == 0
        return eligible

    def describe_picks(self, picks: list[sampler.Pick]) -> list[PickedSong]:
        """The picks with what is known of their songs."""
        shelf = self._candidates
        places = [pick.index for pick in picks]
        columns = (column[places].tolist() for column in (shelf.songs, shelf.clusters, shelf.flags))
        return [
            PickedSong(
                song=song,
                cluster=None if cluster == NO_CLUSTER else cluster,
                affinity=round(shelf.affinities.get(cluster, 0.0), 6),
                propensity=pick.propensity,
                familiar=bool(flags & (FAMILIAR | RERECOMMENDED)),
                rerecommended=bool(flags & RERECOMMENDED),
                cold_start=bool(flags & COLD_START),
            )
            for pick, song, cluster, flags in zip(picks, *columns, strict=True)
        ]


def _formula_for(candidates: CandidateArrays) -> sampler.DrawFormula:
    """What lists from this shelf are drawn by."""
    if candidates.format == 1:
        return sampler.FORMULA_V1
    # The even part is for songs ranked high whose clusters are not played; here none may be ranked.
    ranks = (candidates.values != candidates.values[:1]).any()
    return sampler.LATEST_FORMULA if ranks else replace(sampler.LATEST_FORMULA, even=0.0)


class PageSampler(Protocol):
    """Draws a list page by page, whoever fills the places."""

    def draw_page(self, page: ListPage) -> list[PickedSong]: ...

    def undo_last(self, count: int) -> None: ...


class InterleavedSampler:
    """Draws from the champion's shelf and the challenger's in turn; as `Drawing`, page by page."""

    def __init__(self, champion: CandidateArrays, challenger: CandidateArrays, options: DrawOptions) -> None:
        self._options = options
        self._sides = (ListSampler(champion, options), ListSampler(challenger, options))
        self._placed: list[InterleavedPick] = []

    def draw_page(self, page: ListPage) -> list[PickedSong]:
        """At most `page.n` more songs; fewer where neither model has more that are eligible."""
        champion, challenger = (side.build_pool(page) for side in self._sides)
        terms = self._options
        places = interleave(
            champion, challenger, n=page.n, temperature=terms.temperature, seed=terms.seed,
            artist_cap=terms.artist_cap, placed=self._placed,
        )  # fmt: skip
        self._placed += places
        return [self._describe_place(place) for place in places]

    def undo_last(self, count: int) -> None:
        """Take the last `count` songs back."""
        del self._placed[len(self._placed) - count :]

    def _describe_place(self, place: InterleavedPick) -> PickedSong:
        side = self._sides[place.by_challenger]
        picked = side.describe_picks([Pick(place.index, place.propensity)])[0]
        return PickedSong(
            *picked[:-1],
            interleaved=PairedPropensities(place.by_challenger, place.p_champion, place.p_challenger),
        )
