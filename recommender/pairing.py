"""An interleaved list in the making, from two shelves."""

from typing import Protocol

from recommender.drawing import Drawing, Page, Pair, Picked, Terms
from recommender.engine.interleaving import Place, interleave
from recommender.engine.sampling import Pick
from recommender.engine.shelf import Shelf


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
