"""Read one resource: every page into the staging area, every row compared with the catalogue."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any, Protocol

from ingestion.models import IngestionRun, ResourceReport
from ingestion.pipeline.change_detection import ChangeDetector, KnownIds
from ingestion.pipeline.quality_gate import DOUBLED_ROWS, ResourceAssessment
from ingestion.pipeline.staging import FrameKind, Spool
from ingestion.pipeline.upsert import MirroredTable
from ingestion.source.response import parse_json
from ingestion.source.schemas import Resource

OnProgress = Callable[[int, int], None]


class RawPage(Protocol):
    """Some rows, parsed and as sent; it replaces an earlier page of its number."""

    @property
    def number(self) -> int: ...
    @property
    def rows(self) -> list[Any]: ...
    @property
    def body(self) -> bytes: ...


class PageReader(Protocol):
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
    def __iter__(self) -> Iterator[RawPage]: ...
    def request_first_page(self) -> None: ...
    def close(self) -> None: ...


class DataSource(Protocol):
    """Anything whose lists can be read: the API, an old database."""

    @property
    def base_url(self) -> str: ...
    def read_pages(
        self, path: str, *, key: Callable[[Any], Hashable], on_wait: Callable[[], None] | None = None
    ) -> PageReader: ...


@dataclass
class ReadStats:
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

    def update_from(self, reading: PageReader) -> None:
        """Take over where the reading stands."""
        for name in ("total", "pages", "requests", "retries", "bytes", "shifts", "stable"):
            setattr(self, name, getattr(reading, name))
        self.errors = dict(reading.errors)


class ResourceReader:
    """The reading of one resource.

    Args:
        tick: called again and again while it goes on, at least once a second; what it raises ends it.
        progress: called with the rows landed so far and the total that the source claims.
    """

    def __init__(
        self,
        table: MirroredTable,
        spool: Spool,
        known: KnownIds,
        zone: tzinfo,
        tick: Callable[[], None],
        progress: OnProgress,
    ) -> None:
        self.table = table
        self.detector = ChangeDetector(table, spool, known, zone)
        self.stats = ReadStats(source="")
        self.available = table.model._default_manager.filter(unavailable_at=None).count()
        self._spool, self._known, self._tick, self._progress = spool, known, tick, progress
        self._reading: PageReader | None = None
        self._is_read = False

    def start(self, source: DataSource) -> None:
        """Take up the pages that a dead run left, if it left them all; else ask for the first one now.

        The first page of each resource is asked for before any resource is read: its round trip costs
        nothing then.
        """
        ended = self._spool.completed_stats
        if ended is not None and ended["source"] == source.base_url:
            self.stats = ReadStats(**{**ended, "resumed": True})
            return
        self._spool.clear()
        self.stats = ReadStats(source=source.base_url)
        self._reading = source.read_pages(
            self.table.schema.path, key=self.table.schema.row_key, on_wait=self._tick
        )
        self._reading.request_first_page()

    def close(self) -> None:
        """End what was begun and never read."""
        if self._reading is not None:
            self._reading.close()

    def read_pages(self) -> None:
        """Land every page.

        Raises:
            SourceError: the source could not be read.
        """
        if self._reading is None:
            self._process_staged_pages()
        else:
            self._process_pages(self._reading)
        self.detector.resolve_duplicates()
        self._add_known_ids()
        self._is_read = True

    def assess(self) -> ResourceAssessment:
        return ResourceAssessment(
            resource=self.table.schema.resource,
            received=self.count_rows("received"),
            total=self.stats.total,
            rejected=self.count_rows("rejected"),
            stable=self.stats.stable,
            shifts=self.stats.shifts,
            available=self.available,
            seen_again=self.detector.count_seen_again(),
            cross_page_duplicates=self.detector.cross_page_duplicates,
            expects_duplicates=self._expects_duplicates(),
            reidentified=self.count_rows("reidentified"),
            has_identity=bool(self.table.schema.identity),
        )

    def count_rows(self, name: str) -> int:
        """A count of `Landed`, over all pages."""
        return sum(getattr(landed, name) for landed in self.detector.pages.values())

    def unknown_fields(self) -> dict[str, int]:
        fields: Counter[str] = Counter()
        for landed in self.detector.pages.values():
            fields.update(landed.unknown_fields)
        return dict(fields)

    @property
    def missing(self) -> int:
        """Available rows that were not sent; 0 until all was read: then nobody knows yet."""
        return max(self.available - self.detector.count_seen_again(), 0) if self._is_read else 0

    def _expects_duplicates(self) -> bool:
        """Whether a source sends doubles day by day, so that they say nothing of this reading."""
        reports = ResourceReport.objects.filter(
            resource=self.table.schema.resource, run__in=IngestionRun.objects.applied()
        )
        last = reports.select_related("run").order_by("-run_id").first()
        if last is None:
            return False
        return last.duplicates >= self.count_rows("duplicates") or last.run.error_kind == DOUBLED_ROWS

    def _process_pages(self, reading: PageReader) -> None:
        landed = 0
        try:
            for page in reading:
                self._spool.append_frame(FrameKind.PAGE, page.number, page.body)
                landed += self.detector.process_page(page.number, page.rows).received
                self._tick()
                self._progress(min(landed, reading.total), reading.total)
        finally:
            self.stats.update_from(reading)
        self.detector.drop_after(reading.pages)
        self._spool.mark_complete(vars(self.stats))

    def _process_staged_pages(self) -> None:
        landed = 0
        for number, body in self._spool.read_bodies(FrameKind.PAGE):
            landed += self.detector.process_page(number, parse_json(body)["items"]).received
            self._tick()
            self._progress(landed, self.stats.total)
        self.detector.drop_after(self.stats.pages)

    def _add_known_ids(self) -> None:
        ids = {Resource.SONGS: self._known.songs, Resource.USERS: self._known.users}
        room = ids.get(self.table.schema.resource)
        if room is not None:
            for landed in self.detector.pages.values():
                room.update(landed.keys)
