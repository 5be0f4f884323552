"""Reads one resource: stages every page and compares every row with the catalogue."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any, Final, Protocol

from django.utils import timezone

from ingestion.models import IngestionRun, ResourceReport
from ingestion.pipeline.change_detection import ChangeDetector, KnownIds
from ingestion.pipeline.compact.compact_ids import CompactIds
from ingestion.pipeline.quality_gate import ResourceAssessment
from ingestion.pipeline.staging import FrameKind, Spool, can_resume
from ingestion.pipeline.upsert import MirroredTable, available_rows
from ingestion.source.response import parse_json
from ingestion.source.schemas import Resource, limit_names

OnProgress = Callable[[int, int], None]


# After this many runs with fewer rows than reported, a short list counts as normal for the source.
USUAL_AFTER_RUNS: Final = 3
# More would make the message too long to read.
MAX_REASONS: Final = 5


class RawPage(Protocol):
    """A page, both parsed and as sent; it replaces an earlier page with the same number."""

    @property
    def number(self) -> int: ...
    @property
    def rows(self) -> list[Any]: ...
    @property
    def body(self) -> bytes: ...


class PageReader(Protocol):
    """Iterates once over the pages of a list; the counters are valid at any time."""

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
    def one_answer(self) -> bool: ...
    @property
    def errors(self) -> dict[str, int]: ...
    def __iter__(self) -> Iterator[RawPage]: ...
    def request_first_page(self) -> None: ...
    def close(self) -> None: ...


class DataSource(Protocol):
    @property
    def base_url(self) -> str: ...
    def read_pages(
        self, path: str, *, key: Callable[[Any], Hashable], on_wait: Callable[[], None] | None = None
    ) -> PageReader: ...


@dataclass
class ReadStats:
    """Counters of reading one list; staged with the pages.

    `read_at` is when the last page arrived, as ISO 8601; empty until then.
    """

    source: str
    read_at: str = ""
    total: int = 0
    pages: int = 0
    requests: int = 0
    retries: int = 0
    bytes: int = 0
    shifts: int = 0
    stable: bool = True
    one_answer: bool = False
    errors: dict[str, int] = field(default_factory=dict)
    resumed: bool = False

    def update_from(self, reading: PageReader) -> None:
        for name in ("total", "pages", "requests", "retries", "bytes", "shifts", "stable", "one_answer"):
            setattr(self, name, getattr(reading, name))
        self.errors = dict(reading.errors)


class ResourceReader:
    """Reads the pages of one resource, compares them with the catalogue, and counts.

    Args:
        tick: called at least once a second; an exception from it stops the read.
        progress: called with the rows read so far and the total that the source reports.
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
        self.available = available_rows(table).count()
        self._spool, self._known, self._tick, self._progress = spool, known, tick, progress
        self._reading: PageReader | None = None
        # Primary keys of sessions that are too old for the source to keep.
        self.expired: set[int] = set()
        self.is_window_known = False
        self.is_read = False
        self._distinct = 0

    def start(self, source: DataSource) -> None:
        """Use the staged pages of a crashed run if complete and recent, else request the first page.

        Call it for all resources before reading any, so that these requests overlap.
        """
        staged = self._spool.completed_stats
        if staged and staged["source"] == source.base_url and can_resume(staged["read_at"], timezone.now()):
            self.stats = ReadStats(**{**staged, "resumed": True})
            return
        self._spool.clear()
        self.stats = ReadStats(source=source.base_url)
        self._reading = source.read_pages(
            self.table.schema.path, key=self.table.schema.row_key, on_wait=self._tick
        )
        self._reading.request_first_page()

    def close(self) -> None:
        if self._reading is not None:
            self._reading.close()

    def read_pages(self) -> None:
        """Read all pages; raises `SourceError` if the source could not be read."""
        if self._reading is None:
            self._process_staged_pages()
        else:
            self._process_pages(self._reading)
        self.detector.resolve_duplicates()
        self._add_known_ids()
        self._distinct = self.detector.count_distinct()
        self.is_read = True

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
            distinct=self._distinct,
            one_answer=self.stats.one_answer,
            is_usually_short=self._is_usually_short(),
            doubled_keys=self.detector.doubled_keys,
            reidentified=self.count_rows("reidentified"),
            has_identity=bool(self.table.schema.identity),
            explained=len(self.expired) if self.is_window_known else 0,
            unrecognised=self._count_unrecognised(),
            reasons=tuple(self.rejection_reasons()),
            emptied=self.emptied(),
            rewritten=self.rewritten(),
            unknown_fields=self.unknown_fields(),
            corrections=self.corrections(),
        )

    def count_rows(self, name: str) -> int:
        return self.detector.pages.count(name)

    def unknown_fields(self) -> dict[str, int]:
        fields: Counter[str] = Counter()
        for tally in self.detector.pages.tallies("unknown_fields"):
            fields = limit_names(fields + tally)
        return dict(fields)

    def corrections(self) -> dict[str, int]:
        """The number of repaired rows by repair, such as an emptied field."""
        return dict(self.detector.pages.total_tally("corrections"))

    def rejection_reasons(self) -> list[tuple[str, str, int]]:
        reasons = self.detector.pages.total_tally("rejection_reasons")
        return [(*reason, rows) for reason, rows in reasons.most_common(MAX_REASONS)]

    def emptied(self) -> dict[str, int]:
        return dict(self.detector.pages.total_tally("emptied"))

    def rewritten(self) -> dict[str, int]:
        """The number of known rows with a changed format, by kind of change."""
        return dict(self.detector.pages.total_tally("rewritten"))

    def _count_unrecognised(self) -> int:
        known = set(self.detector.pages.rejected_known_keys.all())
        return max(self.count_rows("rejected") - len(known), 0)

    @property
    def missing(self) -> int:
        """The number of available rows that the source did not send; 0 until every page was read."""
        return max(self.available - self.detector.count_seen_again(), 0) if self.is_read else 0

    def _is_usually_short(self) -> bool:
        """Whether a list this much shorter than reported is normal for this source."""
        short = self.stats.total - self._distinct
        # An empty list would be proven by known rows that do not exist.
        if short <= 0 or not self._distinct:
            return False
        reports = ResourceReport.objects.filter(
            resource=self.table.schema.resource, run__in=IngestionRun.objects.applied()
        ).order_by("-run_id")
        past = [one.total - one.received for one in reports[:USUAL_AFTER_RUNS] if not one.duplicates]
        is_usual = len(past) == USUAL_AFTER_RUNS and min(past) > 0
        return is_usual and (self.missing == 0 or short <= min(past))

    def _process_pages(self, reading: PageReader) -> None:
        received = 0
        try:
            for page in reading:
                self._spool.append_frame(FrameKind.PAGE, page.number, page.body)
                received += self.detector.process_page(page.number, page.rows).received
                self._tick()
                self._progress(min(received, reading.total), reading.total)
        finally:
            self.stats.update_from(reading)
        self.detector.drop_after(reading.pages)
        self.stats.read_at = timezone.now().isoformat()
        self._spool.mark_complete(vars(self.stats))

    def _process_staged_pages(self) -> None:
        received = 0
        for number, body in self._spool.read_bodies(FrameKind.PAGE):
            received += self.detector.process_page(number, parse_json(body)["items"]).received
            self._tick()
            self._progress(received, self.stats.total)
        self.detector.drop_after(self.stats.pages)

    def forget_known_ids(self) -> None:
        """Accept only sessions of stored songs and listeners, because nothing of this list is written."""
        if (known := self._known_ids()) is not None:
            known.clear()

    def _add_known_ids(self) -> None:
        if (known := self._known_ids()) is not None:
            known.fill([self.detector.pages.keys.all()])

    def _known_ids(self) -> CompactIds | None:
        ids = {Resource.SONGS: self._known.songs, Resource.USERS: self._known.users}
        return ids.get(self.table.schema.resource)
