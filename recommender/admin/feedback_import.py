"""The admin page that imports a file of feedback and reports the rows that were refused."""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from itertools import accumulate, islice
from typing import Any, Final

import orjson
from django import forms
from django.contrib.admin import AdminSite
from django.core.files import File
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from rest_framework.exceptions import ValidationError
from unfold.decorators import action

from ingestion.audit import Action, record_audit
from recommender.api.permissions import SESSION_PERMISSIONS
from recommender.api.serializers import EVENT_EXAMPLE, EventSerializer, build_event
from recommender.dashboard.formatting import format_count, localize_decimals
from recommender.feedback.event_files import FileRow, UnreadableFile, decode_file, read_rows, unknown_fields
from recommender.feedback.events import FeedbackEvent, RefusedEvent, record_possible
from recommender.models.api_keys import Scope

MEGABYTE: Final = 1_000_000
# The file, its text and the refused rows are in memory until the page is sent.
MAX_BYTES: Final = 10 * MEGABYTE
# A request may take a minute, the limit of the proxies in deploy/.
MAX_ROWS: Final = 50_000
BATCH: Final = 500  # rows a transaction: on SQLite, other writers wait while one is open
MAX_SHOWN: Final = 50
MAX_CHARS: Final = 300  # of a row or a reason; a cell may be as long as the file
# Firefox opens no longer link than 32 MB, and base64 makes four bytes of three.
MAX_DOWNLOAD_BYTES: Final = 23 * MEGABYTE


@dataclass(frozen=True)
class RefusedRow:
    line: int
    reason: str
    values: dict[str, Any]

    def as_json(self) -> bytes:
        """The row with `line` and `reason`, to be corrected and imported again."""
        return orjson.dumps({"line": self.line, "reason": self.reason, **self.values})

    @property
    def text(self) -> str:
        """The row on the page, with spaces at which a line may break."""
        text = ", ".join(f"{name}: {value}" for name, value in self.values.items())
        return text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]}…"


@dataclass
class ImportReport:
    rows: int = 0
    stored: int = 0
    known: int = 0  # stored before, or earlier in the file
    refused: list[RefusedRow] = field(default_factory=list)

    @property
    def summary(self) -> str:
        """The counts in English, for the audit trail."""
        return f"{self.rows} rows: {self.stored} stored, {self.known} known, {len(self.refused)} refused"

    @property
    def shown(self) -> list[RefusedRow]:
        return self.refused[:MAX_SHOWN]

    @cached_property
    def download_lines(self) -> list[bytes]:
        """The refused rows as NDJSON, from the first on, as many as a link can hold."""
        lines = [row.as_json() + b"\n" for row in self.refused]
        ends = accumulate(len(line) for line in lines)
        return [line for line, end in zip(lines, ends, strict=True) if end <= MAX_DOWNLOAD_BYTES]

    @property
    def download(self) -> str:
        """A link with the lines of the download: they are kept nowhere else."""
        return f"data:application/x-ndjson;base64,{b64encode(b''.join(self.download_lines)).decode()}"


class FileEventSerializer(EventSerializer):
    # Another advice than an app gets: without `at`, an old event would count as happening now.
    wrong_time = _lazy(
        "{at} is more than {ahead} day ahead or {behind} days ago. No such events are stored: correct the "
        "time or leave the row out."
    )


def rows_of_file(text: str) -> Iterator[FileRow]:
    fields = FileEventSerializer().fields
    return read_rows(
        text, known=list(fields), required=[name for name, one in fields.items() if one.required]
    )


class FeedbackFileForm(forms.Form):
    file = forms.FileField(
        label=_lazy("File"),
        help_text=_lazy("CSV or NDJSON in UTF-8, at most 10 MB and 50 000 rows."),
        widget=forms.FileInput(attrs={"accept": ".csv,.ndjson,.jsonl,text/csv,application/x-ndjson"}),
    )

    def clean_file(self) -> str:
        """The text of the file."""
        file: File[bytes] = self.cleaned_data["file"]
        if file.size > MAX_BYTES:
            raise forms.ValidationError(
                _("The file has {size} MB; at most {most} MB are imported at a time. Split it.").format(
                    size=localize_decimals(f"{file.size / MEGABYTE:.1f}"), most=MAX_BYTES // MEGABYTE
                )
            )
        try:
            text = decode_file(file.read())
            rows = sum(1 for _row in islice(rows_of_file(text), MAX_ROWS + 1))
        except UnreadableFile as error:
            raise forms.ValidationError(str(error)) from None
        if not rows:
            raise forms.ValidationError(_("The file has no rows."))
        if rows > MAX_ROWS:
            raise forms.ValidationError(
                _("The file has more than {most} rows. Split it: nothing was imported.").format(
                    most=format_count(MAX_ROWS)
                )
            )
        return text


class FeedbackImportMixin:
    """Adds "Import a file" to the admin's list of feedback."""

    admin_site: AdminSite
    actions_list: Sequence[str] = ("import_file",)

    @action(
        description=_lazy("Import a file"), icon="upload_file", permissions=["import"], url_path="import-file"
    )
    def import_file(self, request: HttpRequest) -> HttpResponse:
        is_sent = request.method == "POST"
        form = FeedbackFileForm(request.POST, request.FILES) if is_sent else FeedbackFileForm()
        report = None
        if is_sent and form.is_valid():
            report = import_events(form.cleaned_data["file"], by=request.user.get_username())
            form = FeedbackFileForm()
        context: dict[str, Any] = {
            **self.admin_site.each_context(request), "title": _("Import a file"), "form": form,
            "report": report, "back": reverse("admin:recommender_feedback_changelist"), **_examples(),
        }  # fmt: skip
        return render(request, "admin/recommender/import_feedback.html", context)

    def has_import_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return request.user.has_perm(SESSION_PERMISSIONS[Scope.FEEDBACK])


def import_events(text: str, *, by: str) -> ImportReport:
    """Check and record the events of a file as the API does, in batches that are each stored whole or not.

    If a batch fails, the batches before it stay stored. A second import of the file stores only the others.
    """
    report, received_at = ImportReport(), timezone.now()
    rows = rows_of_file(text)
    try:
        while batch := list(islice(rows, BATCH)):
            _import_batch(batch, received_at, report)
    finally:
        report.refused.sort(key=lambda row: row.line)
        record_audit(Action.FEEDBACK_IMPORTED, by, report.summary)
    return report


def _import_batch(rows: Sequence[FileRow], received_at: datetime, report: ImportReport) -> None:
    valid: list[tuple[FileRow, FeedbackEvent]] = []
    refused: list[RefusedRow] = []
    serializer = FileEventSerializer()
    for row in rows:
        problem = row.problem or unknown_fields(row.values, serializer.fields)
        if not problem:
            try:
                # A time without a zone is in UTC, as in the API.
                with timezone.override(UTC):
                    valid.append((row, build_event(serializer.run_validation(row.values))))
            except ValidationError as error:
                problem = "; ".join(f"{name}: {' '.join(texts)}" for name, texts in error.detail.items())
        if problem:
            refused.append(_refuse(row, problem))
    results = record_possible([event for _row, event in valid], received_at=received_at)
    for (row, event), result in zip(valid, results, strict=True):
        if isinstance(result, RefusedEvent):
            refused.append(_refuse(row, _explain(event, result)))
        else:
            report.stored += result.created
            report.known += not result.created
    # The counts grow when the batch is stored.
    report.rows += len(rows)
    report.refused += refused


def _refuse(row: FileRow, reason: str) -> RefusedRow:
    return RefusedRow(row.line, reason[:MAX_CHARS], {"row": row.text} if row.problem else row.values)


def _explain(event: FeedbackEvent, refused: RefusedEvent) -> str:
    if not refused.unknown:
        return _("event_id: {event_id} is already stored with other content.").format(event_id=event.event_id)
    texts = {
        "user_id": _("user_id: user {id} is unknown.").format(id=event.user_id),
        "song_id": _("song_id: song {id} is unknown.").format(id=event.song_id),
        "recommendation_id": _("recommendation_id: user {id} was served no such list.").format(
            id=event.user_id
        ),
    }
    return " ".join(texts[name] for name in refused.unknown)


def _examples() -> dict[str, Any]:
    """The fields, and the API's example in both formats."""
    fields = FileEventSerializer().fields
    names = list(fields)
    listen = {name: EVENT_EXAMPLE[name] for name in names if name != "recommendation_id"}
    like = {**listen, "event_id": "ios-7f3a-000124", "kind": "like", "seconds": None}
    events = [listen, like]
    header = ",".join(listen)
    cells = [",".join("" if value is None else str(value) for value in event.values()) for event in events]
    objects = [
        orjson.dumps({name: value for name, value in event.items() if value is not None}).decode()
        for event in events
    ]
    return {
        "fields": names, "required": [name for name, one in fields.items() if one.required],
        "csv_example": "\n".join([header, *cells]), "ndjson_example": "\n".join(objects),
    }  # fmt: skip
