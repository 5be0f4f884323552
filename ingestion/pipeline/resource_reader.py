"""Read one resource: every page into the staging area, every row compared with the catalogue."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any, Protocol

from ingestion.models import ResourceReport
from ingestion.pipeline.change_detection import Known, Landing
from ingestion.pipeline.quality_gate import DOUBLED_ROWS, Assessment, Status
from ingestion.pipeline.staging import Kind, Spool
from ingestion.pipeline.upsert import Table
from ingestion.source.response import parse
from ingestion.source.schemas import Resource

Progress = Callable[[int, int], None]


class Page(Protocol):
    """Some rows, parsed and as sent; it replaces an earlier page of its number."""

    @property
    def number(self) -> int: ...
    @property
    def rows(self) -> list[Any]: ...
    @property
    def body(self) -> bytes: ...


class Reading(Protocol):
    """One pass over a list; what it took is known at any time."""

    @property
    def total(self) -> int: ...
    @property
    def pages(self) -> int: ...
    @property
    def requests(self) -> int: ...
    @property
    def retries(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @property
    def shifts(self) -> int: ...
    @property
    def stable(self) -> bool: ...
    @property
    def errors(self) -> dict[str, int]: ...
    def __iter__(self) -> Iterator[Page]: ...
    def begin(self) -> None: ...
    def close(self) -> None: ...


class Source(Protocol):
    """Anything whose lists can be read: the API, an old database."""

    @property
    def base_url(self) -> str: ...
    def read(
        self, path: str, *, key: Callable[[Any], Hashable], on_wait: Callable[[], None] | None = None
    ) -> Reading: ...


@dataclass
class Measured:
    """What a reading took; survives a dead run together with its pages."""

    source: str
    total: int = 0
    pages: int = 0
    requests: int = 0
    retries: int = 0
    bytes: int = 0
    shifts: int = 0
    stable: bool = True
    errors: dict[str, int] = field(default_factory=dict)
    resumed: bool = False

    def note(self, reading: Reading) -> None:
        """Take over where the reading stands."""
        for name in ("total", "pages", "requests", "retries", "bytes", "shifts", "stable"):
            setattr(self, name, getattr(reading, name))
        self.errors = dict(reading.errors)


class Intake:
    """The reading of one resource.

    Args:
        tick: called again and again while it goes on, at least once a second; what it raises ends it.
        progress: called with the rows landed so far and the total that the source claims.
    """

    def __init__(
        self,
        table: Table,
        spool: Spool,
        known: Known,
        zone: tzinfo,
        tick: Callable[[], None],
        progress: Progress,
    ) -> None:
        self.table = table
        self.landing = Landing(table, spool, known, zone)
        self.measured = Measured(source="")
        self.available = table.model._default_manager.filter(unavailable_at=None).count()
        self._spool, self._known, self._tick, self._progress = spool, known, tick, progress
        self._reading: Reading | None = None
        self._is_read = False

    def begin(self, source: Source) -> None:
        """Take up the pages that a dead run left, if it left them all; else ask for the first one now.

        The first page of each resource is asked for before any resource is read: its round trip costs
        nothing then.
        """
        ended = self._spool.ended
        if ended is not None and ended["source"] == source.base_url:
            self.measured = Measured(**{**ended, "resumed": True})
            return
        self._spool.clear()
        self.measured = Measured(source=source.base_url)
        self._reading = source.read(self.table.schema.path, key=self.table.schema.key_of, on_wait=self._tick)
        self._reading.begin()

    def close(self) -> None:
        """End what was begun and never read."""
        if self._reading is not None:
            self._reading.close()

    def read(self) -> None:
        """Land every page.

        Raises:
            SourceError: the source could not be read.
        """
        if self._reading is None:
            self._land_again()
        else:
            self._land_from(self._reading)
        self.landing.settle_duplicates()
        self._tell_known()
        self._is_read = True

    def assess(self) -> Assessment:
        return Assessment(
            resource=self.table.schema.resource,
            received=self.sum("received"),
            total=self.measured.total,
            rejected=self.sum("rejected"),
            stable=self.measured.stable,
            shifts=self.measured.shifts,
            available=self.available,
            seen_again=self.landing.known(),
            crossing=self.landing.crossing,
            doubles_are_usual=self._doubles_are_usual(),
            reidentified=self.sum("reidentified"),
            has_identity=bool(self.table.schema.identity),
        )

    def sum(self, name: str) -> int:
        """A count of `Landed`, over all pages."""
        return sum(getattr(landed, name) for landed in self.landing.pages.values())

    def unknown_fields(self) -> dict[str, int]:
        fields: Counter[str] = Counter()
        for landed in self.landing.pages.values():
            fields.update(landed.unknown_fields)
        return dict(fields)

    @property
    def missing(self) -> int:
        """Available rows that were not sent; 0 until all was read: then nobody knows yet."""
        return max(self.available - self.landing.known(), 0) if self._is_read else 0

    def _doubles_are_usual(self) -> bool:
        """Whether a source sends doubles day by day, so that they say nothing of this reading."""
        reports = ResourceReport.objects.filter(
            resource=self.table.schema.resource,
            run__dry_run=False,
            run__status__in=(Status.SUCCEEDED, Status.PARTIAL),
        )
        last = reports.select_related("run").order_by("-run_id").first()
        if last is None:
            return False
        return last.duplicates >= self.sum("duplicates") or last.run.error_kind == DOUBLED_ROWS

    def _land_from(self, reading: Reading) -> None:
        landed = 0
        try:
            for page in reading:
                self._spool.append(Kind.PAGE, page.number, page.body)
                landed += self.landing.land(page.number, page.rows).received
                self._tick()
                self._progress(min(landed, reading.total), reading.total)
        finally:
            self.measured.note(reading)
        self.landing.drop_after(reading.pages)
        self._spool.end(vars(self.measured))

    def _land_again(self) -> None:
        landed = 0
        for number, body in self._spool.bodies(Kind.PAGE):
            landed += self.landing.land(number, parse(body)["items"]).received
            self._tick()
            self._progress(landed, self.measured.total)
        self.landing.drop_after(self.measured.pages)

    def _tell_known(self) -> None:
        ids = {Resource.SONGS: self._known.songs, Resource.USERS: self._known.users}
        room = ids.get(self.table.schema.resource)
        if room is not None:
            for landed in self.landing.pages.values():
                room.update(landed.keys)
