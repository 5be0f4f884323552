"""A listener's taste in pictures: styles, weeks of listening, place on the map of styles."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingestion.models import Listener, ListeningHistory
from recommender import listener_profiles
from recommender.dashboard.listen.styles import Style, read_styles, unknown_style
from recommender.engine.feedback_state import reported_twice
from recommender.models import Feedback
from recommender.registry import model_loader
from recommender.serving import recommendations
from recommender.serving.list_limits import ServingOptions
from recommender.serving.reasons.reasons import share_text

MAX_BARS: Final = 8
WEEKS: Final = 26
WEEK: Final = timedelta(days=7)
CHART_HEIGHT: Final = 100.0
# The map, in units of its picture.
MAP_WIDTH, MAP_HEIGHT, MAP_MARGIN = 480, 320, 34
OUTERMOST: Final = 5  # percent at each side
MAX_LABELS: Final = 5
LABEL_HEIGHT: Final = 13.0
LETTER_WIDTH: Final = 6.6
STAR_RADIUS: Final = 12.0
MAX_EXAMPLE_LISTENERS: Final = 12
RECENT_SESSIONS: Final = 400


class AffinityBar(NamedTuple):
    style: Style
    percent: str
    width: float  # of a track that stands for 100


class Week(NamedTuple):
    start: datetime
    songs: int
    x: float
    height: float

    @property
    def top(self) -> float:
        return CHART_HEIGHT - self.height


@dataclass(frozen=True)
class WeekChart:
    weeks: list[Week]
    most: int  # songs in one week

    @property
    def total(self) -> int:
        return sum(week.songs for week in self.weeks)


class MapPoint(NamedTuple):
    style: Style
    x: float
    y: float
    radius: float
    share: float

    @property
    def anchor(self) -> str:
        """The label's `text-anchor` in SVG, so that it stays within the picture."""
        return "start" if self.x < MAP_WIDTH / 4 else "end" if self.x > 3 * MAP_WIDTH / 4 else "middle"

    @property
    def label_y(self) -> float:
        return round(self.y - self.radius - 4, 1)

    @property
    def label_box(self) -> tuple[float, float, float, float]:
        """The label's edges: left, right, top, bottom."""
        width = LETTER_WIDTH * len(self.style.name)
        left = self.x - {"start": 0.0, "middle": width / 2, "end": width}[self.anchor]
        return left, left + width, self.label_y - LABEL_HEIGHT, self.label_y + LABEL_HEIGHT / 4

    @property
    def percent(self) -> str:
        return share_text(self.share)


@dataclass(frozen=True)
class StyleMap:
    points: list[MapPoint]  # the largest first, so that small circles are not covered
    labels: list[MapPoint]
    x: float  # where the listener is
    y: float
    families: list[Style]  # one of each family, for the legend


class Segment(NamedTuple):
    style: Style
    x: float
    width: float


@dataclass(frozen=True)
class ExampleListener:
    listener_id: int
    segments: list[Segment]
    phrases: list[str]  # the styles played most
    songs: int


def affinity_bars(
    listener_id: int, styles: Mapping[int, Style], options: ServingOptions, now: datetime
) -> list[AffinityBar]:
    """One bar per style that the listener plays, most played styles first."""
    rows = recommendations.listener_affinities(listener_id, options=options, now=now)
    return [
        AffinityBar(
            styles.get(row.cluster_id, unknown_style()),
            share_text(row.affinity),
            round(100 * row.affinity, 2),
        )
        for row in rows
        if row.affinity > 0
    ]


def weeks_of_listening(listener_id: int, now: datetime) -> WeekChart:
    """Bars of the last weeks' listening, oldest first; the highest is CHART_HEIGHT high."""
    first = now - WEEKS * WEEK
    sessions = ListeningHistory.objects.filter(
        user_id=listener_id, unavailable_at=None, created_at__gt=first, created_at__lte=now
    )
    plays = [(song, at) for at, items in sessions.values_list("created_at", "items") for song in items]
    plays += _listens_beside(plays, listener_id, first, now)
    counts = [0] * WEEKS
    for _song, at in plays:
        counts[min(WEEKS - 1, int((at - first) / WEEK))] += 1
    most = max(counts)
    return WeekChart(
        [
            Week(first + number * WEEK, count, 10.0 * number, round(100 * count / most, 1) if most else 0.0)
            for number, count in enumerate(counts)
        ],
        most,
    )


def _listens_beside(
    plays: Sequence[tuple[int, datetime]], listener_id: int, first: datetime, now: datetime
) -> list[tuple[int, datetime]]:
    """Songs that apps reported as heard, without those that the sessions have too."""
    events = Feedback.objects.not_withdrawn().filter(
        listener_id=listener_id, kind=Feedback.Kind.LISTEN, at__gt=first, at__lte=now
    )
    listens = list(events.without_short_listens().values_list("song_id", "at"))
    twice = reported_twice(*_as_arrays(listens), *_as_arrays(plays))
    return [listen for listen, is_twice in zip(listens, twice.tolist(), strict=True) if not is_twice]


def _as_arrays(plays: Sequence[tuple[int, datetime]]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    songs = np.array([song for song, _at in plays], dtype=np.int64)
    return songs, np.array([at.timestamp() for _song, at in plays], dtype=np.float64)


def style_map(styles: Iterable[Style], bars: Sequence[AffinityBar]) -> StyleMap | None:
    """The map of styles, with the listener in the middle of what they play; None without a map."""
    placed = [style for style in styles if style.place is not None]
    share_of = {bar.style.number: bar.width / 100 for bar in bars}
    if len(placed) < 2 or not any(share_of.get(style.number) for style in placed):
        return None
    places = np.array([style.place for style in placed])
    # Without the outermost styles, which would press the others together; they are at the edge.
    low, high = np.percentile(places, OUTERMOST, axis=0), np.percentile(places, 100 - OUTERMOST, axis=0)
    unit = np.clip((places - low) / np.where(high > low, high - low, 1.0), 0, 1)
    # SVG counts y downwards, the map upwards.
    unit[:, 1] = 1 - unit[:, 1]
    xy = MAP_MARGIN + unit * np.array([MAP_WIDTH - 2 * MAP_MARGIN, MAP_HEIGHT - 2 * MAP_MARGIN])
    shares = np.array([share_of.get(style.number, 0.0) for style in placed])
    largest = max(style.size for style in placed) or 1
    x, y = (shares / shares.sum()) @ xy
    points = [
        MapPoint(
            style, round(float(at[0]), 1), round(float(at[1]), 1),
            round(4 + 12 * (style.size / largest) ** 0.5, 1), float(share),
        )
        for style, at, share in zip(placed, xy, shares, strict=True)
    ]  # fmt: skip
    points.sort(key=lambda point: -point.radius)
    families = list({style.family: style for style in placed}.values())
    place = (round(float(x), 1), round(float(y), 1))
    return StyleMap(points, _labelled(points, place), *place, families)


def _labelled(points: Sequence[MapPoint], listener: tuple[float, float]) -> list[MapPoint]:
    """The points whose names have room on the map, most played styles first."""
    star = (
        listener[0] - STAR_RADIUS,
        listener[0] + STAR_RADIUS,
        listener[1] - STAR_RADIUS,
        listener[1] + STAR_RADIUS,
    )
    taken, chosen = [star], list[MapPoint]()
    for point in sorted(points, key=lambda one: -one.share):
        if len(chosen) == MAX_LABELS or not point.share:
            break
        left, right, top, bottom = box = point.label_box
        if all(right < one[0] or left > one[1] or bottom < one[2] or top > one[3] for one in taken):
            chosen.append(point)
            taken.append(box)
    return chosen


def example_listeners(options: ServingOptions, now: datetime) -> list[ExampleListener]:
    """Listeners of the newest sessions, each with a picture of their taste."""
    latest = ListeningHistory.objects.filter(unavailable_at=None).order_by("-id")
    ids = list(dict.fromkeys(latest.values_list("user_id", flat=True)[:RECENT_SESSIONS]))
    known = set(Listener.objects.filter(pk__in=ids, unavailable_at=None).values_list("pk", flat=True))
    ids = sorted([pk for pk in ids if pk in known][:MAX_EXAMPLE_LISTENERS])
    model = model_loader.current_model(options.storage).model
    styles = read_styles(model.version if model else None)
    found = []
    for listener_id, profile in listener_profiles.read_profiles(ids, now).items():
        shares = model.cluster_affinities(profile.model_profile(model.song_ids)) if model else {}
        segments, x = [], 0.0
        for number, share in shares.items():
            segments.append(Segment(styles.get(number, unknown_style()), round(x, 2), round(100 * share, 2)))
            x += 100 * share
        phrases = [segment.style.phrase for segment in segments[:3]]
        found.append(ExampleListener(listener_id, segments, phrases, round(float(profile.play_counts.sum()))))
    return sorted(found, key=lambda one: one.listener_id)
