"""Draws lists page by page, from one model's candidates or from two models' in turn."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from recommender.engine.sampling import sampler
from recommender.engine.sampling.candidate_codec import CandidateArrays
from recommender.engine.sampling.favourites import favourite_values
from recommender.engine.sampling.impressions import lower_shown
from recommender.engine.sampling.interleaving import InterleavedPick, interleave
from recommender.engine.sampling.quotas import Quotas
from recommender.engine.sampling.sampler import Pick
from recommender.engine.song_columns import are_among
from recommender.serving.list_limits import Limit, Mode

# Bits of `CandidateArrays.flags`.
FAMILIAR: Final = 1  # the listener has played the artist
RERECOMMENDED: Final = 2  # the listener played the song, but long ago
COLD_START: Final = 4  # a popular song, chosen without the listener's plays
HEARD: Final = 8  # the listener played the song; used only if a list would end early
NEW_SONG: Final = 16  # hardly anyone has played it; only places for new songs offer it
UNPLAYED: Final = 32  # a cold-start song that no listener has played
LIKES: Final = 64  # the affinities count likes beside plays
# Places for new songs in twenty, at the default discovery and at the highest.
NEW_PLACES: Final = 1
MOST_NEW_PLACES: Final = 3
# At a higher discovery no played song is recommended again.
MAX_DISCOVERY_TO_RERECOMMEND: Final = 0.2
# The preferred cluster's best song gets this much more value than the best of all other songs. At the
# default temperature of 0.1 it then wins seven draws of eight against one other song.
PREFERRED_CLUSTER_LEAD: Final = 0.2
# Kinds of songs, see `Quotas`: the share of NEW_ARTIST is the discovery, that of FAVOURITE is `repeats`.
FAMILIAR_ARTIST, NEW_ARTIST, FAVOURITE = 0, 1, 2
SECONDS_PER_DAY: Final = 86_400.0
# The draw formulas of earlier formats of stored candidates; later formats use the latest formula.
FORMULAS: Final = {1: sampler.FORMULA_V1, 2: sampler.FORMULA_V2, 3: sampler.FORMULA_V2}
NO_CLUSTER: Final = -1  # the cluster of songs that the model does not know


class DrawStep(NamedTuple):
    """A step of filling a page: the songs that may be added if earlier steps have left places."""

    heard: bool = False  # played songs, the one played longest ago first; otherwise unplayed songs
    is_capped: bool = True  # whether the artist cap applies
    others: bool = False  # songs never heard, in a list of favourites
    repeats: bool = False  # songs that the page should avoid, the one served longest ago first

    @property
    def is_ordered(self) -> bool:
        """Whether the order of the songs is fixed; otherwise they are drawn."""
        return self.heard or self.repeats


STRICT_STEP: Final = DrawStep()
DRAW_STEPS: Final = (
    STRICT_STEP,
    DrawStep(heard=True),
    DrawStep(is_capped=False),
    DrawStep(heard=True, is_capped=False),
    DrawStep(repeats=True, is_capped=False),
)
# A list of favourites has no more favourites to relax the limits for, but songs never heard.
FAVOURITES_STEPS: Final = (
    STRICT_STEP,
    DrawStep(is_capped=False),
    DrawStep(others=True),
    DrawStep(others=True, is_capped=False),
    DrawStep(repeats=True, is_capped=False),
)


@dataclass(frozen=True)
class ListPage:
    n: int  # number of songs
    excluded: tuple[int, ...] = ()  # song ids that must not be drawn
    # The number of a cluster whose songs are drawn first; None: no preference.
    preferred_cluster: int | None = None
    # Song ids that are drawn only if no others are left, in this order.
    avoided: tuple[int, ...] = ()
    # Whether limits are relaxed if too few songs are eligible; False for pages of earlier releases.
    is_filled: bool = True
    # Number of songs that were served one by one just before, how many of them were by new artists, and how
    # many were favourites. None for pages of earlier releases, in which new artists get a bonus or a penalty.
    given_before: tuple[int, int, int] | None = (0, 0, 0)

    def steps(self, mode: Mode) -> tuple[DrawStep, ...]:
        if not self.is_filled:
            return (STRICT_STEP,)
        return FAVOURITES_STEPS if mode == Mode.FAVOURITES else DRAW_STEPS

    def as_json(self) -> dict[str, Any]:
        return {
            "n": self.n, "excluded": sorted(self.excluded), "near": self.preferred_cluster,
            "avoided": list(self.avoided), "filled": self.is_filled,
            "before": list(self.given_before) if self.given_before else None,
        }  # fmt: skip

    @classmethod
    def from_json(cls, page: dict[str, Any]) -> "ListPage":
        avoided, is_filled = tuple(page.get("avoided", ())), page.get("filled", False)
        before = page.get("before")
        return cls(
            page["n"], tuple(page["excluded"]), page.get("near"), avoided, is_filled,
            (before[0], before[1], before[2]) if before else None,
        )  # fmt: skip

    def excluding(self, songs: Iterable[int]) -> "ListPage":
        return replace(self, excluded=tuple({*self.excluded, *songs}))


class PairedPropensities(NamedTuple):
    """Who drew a song of an interleaved list, and its probability under each model."""

    by_challenger: bool
    p_champion: float
    p_challenger: float


class PickedSong(NamedTuple):
    song: int
    cluster: int | None
    affinity: float  # the cluster's share of the listener's plays, 0 to 1; 0 without plays
    propensity: float  # the probability of this pick, given the picks before
    familiar: bool
    rerecommended: bool  # True if the listener has played the song
    cold_start: bool
    unplayed: bool = False  # whether no listener has played a cold-start song
    counts_likes: bool = False  # whether the affinity counts likes beside plays
    new_song: bool = False  # True in a place for new songs
    relaxed: tuple[Limit, ...] = ()  # the limits that had to be relaxed for this pick
    interleaved: PairedPropensities | None = None  # only for songs of an interleaved list


@dataclass(frozen=True)
class DrawOptions:
    """Options of a draw; `artist_cap` None allows any number of songs by one artist."""

    seed: str
    discovery: float
    temperature: float
    artist_cap: int | None
    # By song id, see `impressions.sum_impressions`; songs that are missing were not shown lately.
    impressions: Mapping[int, float] = field(default_factory=dict)
    mode: Mode = Mode.MIX
    repeats: float = 0.0  # the share of favourites in a mix
    drawn_at: float = 0.0  # seconds since 1970; favourites played shortly before rank lower

    @property
    def share_of_favourites(self) -> float:
        return {Mode.DISCOVER: 0.0, Mode.MIX: self.repeats, Mode.FAVOURITES: 1.0}[self.mode]

    @property
    def share_of_new_artists(self) -> float:
        return min(self.discovery, 1 - self.share_of_favourites)


class ListSampler:
    """Draws from one model's candidates; each page continues the one before."""

    def __init__(self, candidates: CandidateArrays, options: DrawOptions) -> None:
        self._candidates = candidates
        self._options = options
        self._placed: list[sampler.Pick] = []
        numbers = sorted(set(candidates.clusters.tolist()))
        self._numbers = np.array(numbers, dtype=np.int32)
        self._clusters = self._numbers.searchsorted(candidates.clusters)
        shares_by_number = candidates.affinities
        # Without affinities all clusters are equally likely.
        shares = [shares_by_number.get(number, 0.0) if shares_by_number else 1.0 for number in numbers]
        self._affinities = np.array(shares, dtype=np.float64)
        self._formula = _formula_for(candidates)
        self._further_codes = _by_index(candidates.songs, candidates.further_codes)
        is_unfamiliar = candidates.flags & (FAMILIAR | RERECOMMENDED | HEARD) == 0
        self._kinds = np.where(is_unfamiliar, NEW_ARTIST, FAMILIAR_ARTIST).astype(np.int8)
        self._is_new = candidates.flags & NEW_SONG != 0
        self._values = candidates.values.astype(np.float64)
        self._is_favourite = np.zeros(len(self._values), dtype=np.bool_)
        if options.share_of_favourites:
            self._is_favourite = _is_in(candidates.songs, tuple(candidates.favourites))
            self._kinds[self._is_favourite] = FAVOURITE
            self._values[self._is_favourite] = self._favourite_values()
        # New songs and favourites have values of other scales.
        for part in (self._is_new, self._is_favourite, ~self._is_new & ~self._is_favourite):
            self._values[part] = lower_shown(self._values[part], candidates.songs[part], options.impressions)

    def draw_page(self, page: ListPage) -> list[PickedSong]:
        described: list[PickedSong] = []
        for step in page.steps(self._options.mode):
            if len(described) == page.n:
                break
            picks = sampler.draw_picks(
                self.build_pool(page, step), n=page.n - len(described), seed=self._options.seed,
                placed=self._placed, **step_options(self._options, step),
            )  # fmt: skip
            self._placed += picks
            described += self.describe_picks(picks, step)
        return described

    def build_pool(self, page: ListPage, step: DrawStep = STRICT_STEP) -> sampler.CandidatePool:
        """The pool from which a page is drawn; it includes the songs that were already drawn."""
        eligible = self._eligible(page, step)
        if step.is_ordered:
            values, affinities, quotas = self._order_of(page, step), self._affinities, None
        else:
            quotas = self._quotas(page, eligible)
            values = self._values if page.given_before else self._add_new_artist_bonus(self._values)
            values, affinities = self._prefer_cluster(page.preferred_cluster, values, eligible, quotas)
        return sampler.CandidatePool(
            songs=self._candidates.songs,
            values=values,
            clusters=self._clusters,
            artists=self._candidates.artists,
            affinities=affinities,
            eligible=eligible,
            formula=self._formula,
            further_codes=self._further_codes,
            quotas=quotas,
            new_songs=self._is_new if self._is_new.any() else None,
            new_places=new_song_places(self._options.discovery),
        )

    def undo_last(self, count: int) -> None:
        del self._placed[len(self._placed) - count :]

    def _prefer_cluster(
        self,
        number: int | None,
        values: NDArray[np.float64],
        eligible: NDArray[np.bool_],
        quotas: Quotas | None,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        eligible = eligible & ~self._is_new
        preferred = (self._candidates.clusters == number) & ~self._is_new
        if number is None or not (preferred & eligible).any():
            return values, self._affinities
        affinities = np.where(self._numbers == number, self._affinities.max(), self._affinities)
        raised = values.copy()
        # Among songs of one kind, too, since a place may offer only songs of one kind.
        kinds = self._kinds if quotas else np.zeros(len(values), dtype=np.int8)
        for kind in np.unique(kinds[preferred & eligible]):
            offered, wanted = eligible & (kinds == kind), preferred & eligible & (kinds == kind)
            lift = values[offered].max() - values[wanted].max() + PREFERRED_CLUSTER_LEAD
            raised[preferred & (kinds == kind)] += lift
        return raised, affinities

    def _quotas(self, page: ListPage, eligible: NDArray[np.bool_]) -> Quotas | None:
        if page.given_before is None:
            return None
        preferred = eligible & (self._candidates.clusters == page.preferred_cluster)
        if len(np.unique(self._kinds[preferred])) == 1:
            return None  # the share would keep the preferred cluster from the page
        options, (songs, new, loved) = self._options, page.given_before
        shares = (options.share_of_new_artists, options.share_of_favourites)
        counts = (songs - new - loved, new, loved)
        kinds = len(counts) if shares[1] else len(counts) - 1
        return Quotas(self._kinds, (max(0.0, 1 - sum(shares)), *shares)[:kinds], counts[:kinds])

    def _favourite_values(self) -> NDArray[np.float64]:
        songs = self._candidates.songs[self._is_favourite].tolist()
        scores = np.array([self._candidates.favourites[song] for song in songs])
        last = np.array([self._candidates.last_played_at.get(song, 0.0) for song in songs])
        return favourite_values(scores, (self._options.drawn_at - last) / SECONDS_PER_DAY)

    def _add_new_artist_bonus(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        options = self._options
        bonus = sampler.new_artist_bonus(options.discovery, options.temperature, self._formula)
        raised: NDArray[np.float64] = values + bonus * (self._kinds == NEW_ARTIST)
        return raised

    def _eligible(self, page: ListPage, step: DrawStep) -> NDArray[np.bool_]:
        songs, flags = self._candidates.songs, self._candidates.flags
        is_played = flags & (HEARD | RERECOMMENDED) != 0
        if step.repeats:
            eligible = _is_in(songs, page.avoided)
        elif step.heard:
            eligible = is_played & ~_is_in(songs, page.avoided)
        else:
            eligible = self._fits_mode(step) & ~_is_in(songs, page.avoided)
        return eligible & ~_is_in(songs, page.excluded)

    def _fits_mode(self, step: DrawStep) -> NDArray[np.bool_]:
        options, flags = self._options, self._candidates.flags
        if options.mode == Mode.FAVOURITES and not step.others:
            return self._is_favourite
        left_out = HEARD
        # A mix without a share of favourites may have songs that were heard long ago, at a low discovery.
        has_share = options.mode != Mode.MIX or options.repeats > 0
        if has_share or options.discovery > MAX_DISCOVERY_TO_RERECOMMEND:
            left_out |= RERECOMMENDED
        fits: NDArray[np.bool_] = (flags & left_out == 0) | self._is_favourite
        return fits

    def _order_of(self, page: ListPage, step: DrawStep) -> NDArray[np.float64]:
        """Values that are higher for songs that were served or played longer ago."""
        songs = self._candidates.songs.tolist()
        if step.repeats:
            place = {song: place for place, song in enumerate(page.avoided)}
            return np.array([-place.get(song, 0) for song in songs], dtype=np.float64)
        at = self._candidates.last_played_at
        return np.array([-at.get(song, 0.0) for song in songs], dtype=np.float64)

    def describe_picks(self, picks: list[sampler.Pick], step: DrawStep = STRICT_STEP) -> list[PickedSong]:
        candidates = self._candidates
        places = [pick.index for pick in picks]
        columns = (
            column[places].tolist() for column in (candidates.songs, candidates.clusters, candidates.flags)
        )
        return [
            PickedSong(
                song=song,
                cluster=None if cluster == NO_CLUSTER else cluster,
                affinity=round(candidates.affinities.get(cluster, 0.0), 6),
                propensity=pick.propensity,
                familiar=bool(flags & (FAMILIAR | RERECOMMENDED | HEARD)),
                rerecommended=bool(flags & (RERECOMMENDED | HEARD)),
                cold_start=bool(flags & COLD_START),
                unplayed=bool(flags & UNPLAYED),
                counts_likes=bool(flags & LIKES),
                relaxed=_relaxed_limits(flags, step),
                new_song=bool(flags & NEW_SONG),
            )
            for pick, song, cluster, flags in zip(picks, *columns, strict=True)
        ]


def step_options(options: DrawOptions, step: DrawStep) -> dict[str, Any]:
    return {
        "temperature": 0.0 if step.is_ordered else options.temperature,
        "artist_cap": options.artist_cap if step.is_capped else None,
    }


def _relaxed_limits(flags: int, step: DrawStep) -> tuple[Limit, ...]:
    limits = (
        (Limit.HEARD, step.is_ordered and bool(flags & (HEARD | RERECOMMENDED))),
        (Limit.FAVOURITES, step.others),
        (Limit.ARTIST_CAP, not step.is_capped and not step.repeats),
        (Limit.REPEATED, step.repeats),
    )
    return tuple(limit for limit, is_relaxed in limits if is_relaxed)


def _by_index(
    songs: NDArray[np.int64], by_song: Mapping[int, tuple[int, ...]]
) -> Mapping[int, tuple[int, ...]]:
    if not by_song:
        return {}
    index_of = {song: index for index, song in enumerate(songs.tolist())}
    return {index_of[song]: codes for song, codes in by_song.items()}


def _is_in(songs: NDArray[np.int64], wanted: tuple[int, ...]) -> NDArray[np.bool_]:
    return are_among(songs, np.array(wanted, dtype=np.int64))


def new_song_places(discovery: float) -> int:
    """The number of places for new songs in every twenty; 0 at discovery 0, which keeps the ranking."""
    if discovery <= 0:
        return 0
    above = max(0.0, discovery - sampler.NEUTRAL_DISCOVERY) / (1 - sampler.NEUTRAL_DISCOVERY)
    return NEW_PLACES + round(above * (MOST_NEW_PLACES - NEW_PLACES))


def _formula_for(candidates: CandidateArrays) -> sampler.DrawFormula:
    formula = FORMULAS.get(candidates.format, sampler.LATEST_FORMULA)
    if formula is sampler.FORMULA_V1:
        return formula
    # The constant `even` helps high-ranked songs in clusters that the listener does not play. If all songs
    # have the same value, there is no ranking to stay near, and `even` must be 0.
    is_ranked = (candidates.values != candidates.values[:1]).any()
    return formula if is_ranked else replace(formula, even=0.0, cooling=0.0)


class PageSampler(Protocol):
    def draw_page(self, page: ListPage) -> list[PickedSong]: ...

    def undo_last(self, count: int) -> None: ...


class InterleavedSampler:
    def __init__(self, champion: CandidateArrays, challenger: CandidateArrays, options: DrawOptions) -> None:
        self._options = options
        self._sides = (ListSampler(champion, options), ListSampler(challenger, options))
        self._placed: list[InterleavedPick] = []

    def draw_page(self, page: ListPage) -> list[PickedSong]:
        described: list[PickedSong] = []
        for step in page.steps(self._options.mode):
            if len(described) == page.n:
                break
            champion, challenger = (side.build_pool(page, step) for side in self._sides)
            places = interleave(
                champion, challenger, n=page.n - len(described), seed=self._options.seed, placed=self._placed,
                **step_options(self._options, step),
            )  # fmt: skip
            self._placed += places
            described += [self._describe_place(place, step) for place in places]
        return described

    def undo_last(self, count: int) -> None:
        del self._placed[len(self._placed) - count :]

    def _describe_place(self, place: InterleavedPick, step: DrawStep) -> PickedSong:
        side = self._sides[place.by_challenger]
        picked = side.describe_picks([Pick(place.index, place.propensity)], step)[0]
        return PickedSong(
            *picked[:-1],
            interleaved=PairedPropensities(place.by_challenger, place.p_champion, place.p_challenger),
        )
