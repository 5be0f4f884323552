"""From a shelf's bytes to the songs of a list, page by page: what was asked decides what is given."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from recommender.engine.sampling import sampler
from recommender.engine.sampling.candidate_codec import Shelf
from recommender.engine.sampling.interleaving import Place, interleave
from recommender.engine.sampling.sampler import Pick

FAMILIAR: Final = 1  # the listener has played the artist
RESURFACED: Final = 2  # heard, but long ago
COLD: Final = 4  # offered because it is popular: nothing that the listener played speaks for it
# Who asks for more that is new than this is not given again what was heard.
MOST_RESURFACING: Final = 0.2
# The next song keeps the mood of the one before: its cluster's best song is put so far ahead of all others.
# At the usual temperature of .1 that wins seven times of eight against one rival.
NEAR: Final = 0.2
NO_CLUSTER: Final = -1  # of songs that no model has seen


@dataclass(frozen=True)
class Page:
    """What was asked for.

    Attributes:
        excluded: song ids that may not be drawn.
        near: a cluster's number whose songs are put forward; None: no such wish.
    """

    n: int
    excluded: tuple[int, ...] = ()
    near: int | None = None

    def as_json(self) -> dict[str, Any]:
        return {"n": self.n, "excluded": sorted(self.excluded), "near": self.near}

    @classmethod
    def from_json(cls, page: dict[str, Any]) -> "Page":
        return cls(page["n"], tuple(page["excluded"]), page.get("near"))

    def without(self, songs: Iterable[int]) -> "Page":
        return replace(self, excluded=tuple({*self.excluded, *songs}))


class Pair(NamedTuple):
    """Of an interleaved list's song: who drew it, and how probably each model would have, in its place."""

    by_challenger: bool
    p_champion: float
    p_challenger: float


class Picked(NamedTuple):
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
    resurfaced: bool
    cold: bool
    pair: Pair | None = None


@dataclass(frozen=True)
class Terms:
    """What a list is drawn by, besides its shelf; `artist_cap` None: any number of songs an artist."""

    seed: str
    discovery: float
    temperature: float
    artist_cap: int | None


class Drawing:
    """A list in the making: each page goes on where the last one ended."""

    def __init__(self, shelf: Shelf, terms: Terms) -> None:
        self._shelf = shelf
        self._terms = terms
        self._placed: list[sampler.Pick] = []
        numbers = sorted(set(shelf.clusters.tolist()))
        self._numbers = np.array(numbers, dtype=np.int32)
        self._clusters = self._numbers.searchsorted(shelf.clusters)
        known = shelf.affinities
        # Nothing known, nothing preferred.
        shares = [known.get(number, 0.0) if known else 1.0 for number in numbers]
        self._affinities = np.array(shares, dtype=np.float64)
        self._formula = _formula_of(shelf)
        self._values = self._tilted(shelf.values.astype(np.float64))

    def page(self, page: Page) -> list[Picked]:
        """At most `page.n` more songs; fewer where no more are eligible."""
        terms = self._terms
        picks = sampler.draw(
            self.pool(page), n=page.n, temperature=terms.temperature, seed=terms.seed,
            artist_cap=terms.artist_cap, placed=self._placed,
        )  # fmt: skip
        self._placed += picks
        return self.picked(picks)

    def pool(self, page: Page) -> sampler.Pool:
        """What may be drawn for this page, all that was placed included."""
        eligible = self._eligible(page)
        values, affinities = self._near(page.near, eligible)
        return sampler.Pool(
            songs=self._shelf.songs,
            values=values,
            clusters=self._clusters,
            artists=self._shelf.artists,
            affinities=affinities,
            eligible=eligible,
            formula=self._formula,
        )

    def drop(self, count: int) -> None:
        """Take the last `count` songs back; the next page is drawn as if they had never been."""
        del self._placed[len(self._placed) - count :]

    def _near(
        self, number: int | None, eligible: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Values and affinities with this cluster put forward, however little the listener plays of it."""
        if number is None:
            return self._values, self._affinities
        near = self._shelf.clusters == number
        if not (near & eligible).any():
            return self._values, self._affinities
        lift = self._values[eligible].max() - self._values[near & eligible].max() + NEAR
        affinities = np.where(self._numbers == number, self._affinities.max(), self._affinities)
        return self._values + lift * near, affinities

    def _tilted(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        unfamiliar = self._shelf.flags & (FAMILIAR | RESURFACED) == 0
        terms = self._terms
        tilt = sampler.tilt(terms.discovery, terms.temperature, self._formula)
        tilted: NDArray[np.float64] = values + tilt * unfamiliar
        return tilted

    def _eligible(self, page: Page) -> NDArray[np.bool_]:
        eligible = np.ones(len(self._shelf.songs), dtype=np.bool_)
        if page.excluded:
            eligible = ~np.isin(self._shelf.songs, np.array(page.excluded, dtype=np.int64))
        if self._terms.discovery > MOST_RESURFACING:
            eligible &= self._shelf.flags & RESURFACED == 0
        return eligible

    def picked(self, picks: list[sampler.Pick]) -> list[Picked]:
        """The picks with what is known of their songs."""
        shelf = self._shelf
        places = [pick.index for pick in picks]
        columns = (column[places].tolist() for column in (shelf.songs, shelf.clusters, shelf.flags))
        return [
            Picked(
                song=song,
                cluster=None if cluster == NO_CLUSTER else cluster,
                affinity=round(shelf.affinities.get(cluster, 0.0), 6),
                propensity=pick.propensity,
                familiar=bool(flags & (FAMILIAR | RESURFACED)),
                resurfaced=bool(flags & RESURFACED),
                cold=bool(flags & COLD),
            )
            for pick, song, cluster, flags in zip(picks, *columns, strict=True)
        ]


def _formula_of(shelf: Shelf) -> sampler.Formula:
    """What lists from this shelf are drawn by."""
    if shelf.format == 1:
        return sampler.FIRST
    # The even part is for songs ranked high whose clusters are not played; here none may be ranked.
    ranks = (shelf.values != shelf.values[:1]).any()
    return sampler.NEWEST if ranks else replace(sampler.NEWEST, even=0.0)


class Draws(Protocol):
    """Draws a list page by page, whoever fills the places."""

    def page(self, page: Page) -> list[Picked]: ...

    def drop(self, count: int) -> None: ...


class PairDrawing:
    """Draws from the champion's shelf and the challenger's in turn; as `Drawing`, page by page."""

    def __init__(self, champion: Shelf, challenger: Shelf, terms: Terms) -> None:
        self._terms = terms
        self._sides = (Drawing(champion, terms), Drawing(challenger, terms))
        self._placed: list[Place] = []

    def page(self, page: Page) -> list[Picked]:
        """At most `page.n` more songs; fewer where neither model has more that are eligible."""
        champion, challenger = (side.pool(page) for side in self._sides)
        terms = self._terms
        places = interleave(
            champion, challenger, n=page.n, temperature=terms.temperature, seed=terms.seed,
            artist_cap=terms.artist_cap, placed=self._placed,
        )  # fmt: skip
        self._placed += places
        return [self._picked(place) for place in places]

    def drop(self, count: int) -> None:
        """Take the last `count` songs back."""
        del self._placed[len(self._placed) - count :]

    def _picked(self, place: Place) -> Picked:
        side = self._sides[place.by_challenger]
        picked = side.picked([Pick(place.index, place.propensity)])[0]
        return Picked(*picked[:-1], pair=Pair(place.by_challenger, place.p_champion, place.p_challenger))
