"""Reads files of feedback events: CSV, or NDJSON with one JSON object on each line."""

import csv
import io
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson
from django.utils.translation import gettext as _

# Separators of CSV; programs in countries with decimal commas write semicolons.
DELIMITERS: Final = (",", ";", "\t")
# A download of refused rows has these fields, so that it can be corrected and imported again.
ANNOTATIONS: Final = frozenset({"line", "reason"})
LONGEST_NAME: Final = 60  # characters of an unknown field's name that a message repeats
# No id or kind has line feeds. Without a limit, each row of a file whose quotation marks are all wrong would
# be read to the file's end.
MAX_LINES: Final = 20  # of a row


class UnreadableFile(ValueError):
    """The file as a whole can't be imported; the text says why, in the active language."""


@dataclass(frozen=True)
class FileRow:
    line: int  # the row's first line, from 1
    values: dict[str, Any] = field(default_factory=dict)  # by field, without empty cells
    text: str = ""  # the row as it is in the file, if it can't be read
    problem: str = ""  # why it can't be read, in the active language


def decode_file(content: bytes) -> str:
    """The text of a file in UTF-8, without its byte order mark.

    Raises:
        UnreadableFile: the file is in another encoding.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UnreadableFile(_("The file is not in UTF-8: see line {line}.").format(line=line)) from None


def read_rows(text: str, *, known: Collection[str], required: Collection[str]) -> Iterator[FileRow]:
    """The rows in order, without empty ones; a text that begins with a brace is NDJSON.

    Args:
        known: all fields that a row may have.
        required: fields that every row must have.

    Raises:
        UnreadableFile: the header of a CSV file is wrong, or the file is a JSON list.
    """
    start = text.lstrip()[:1]
    if start == "[":
        raise UnreadableFile(_("The file is one JSON list. Write each event as an object on its own line."))
    return _read_ndjson(text) if start == "{" else _read_csv(text, known, required)


def unknown_fields(names: Collection[str], known: Collection[str]) -> str:
    """A message that names the unknown ones of `names`; empty if all are known."""
    unknown = [name[:LONGEST_NAME] for name in names if name not in known]
    if not unknown:
        return ""
    return _("Unknown fields: {unknown}. Known fields: {known}.").format(
        unknown=", ".join(unknown[:5]), known=", ".join(known)
    )


def _read_ndjson(text: str) -> Iterator[FileRow]:
    # Not splitlines(): a JSON string may contain separators of lines that are not line feeds.
    for line, row in enumerate(io.StringIO(text, newline="\n"), start=1):
        if not (text_of_row := row.rstrip()):
            continue
        try:
            values = orjson.loads(text_of_row)
        except orjson.JSONDecodeError as error:
            problem = _("Not JSON: see character {place} of the line.").format(place=error.colno)
            yield FileRow(line, text=row, problem=problem)
            continue
        if not isinstance(values, dict):
            yield FileRow(line, text=row, problem=_("Not a JSON object."))
        elif any(isinstance(value, dict | list) for value in values.values()):
            # No field has such a value, and it may be nested more deeply than the report could write it.
            yield FileRow(line, text=row, problem=_("A value is a list or an object."))
        else:
            yield FileRow(line, {name: values[name] for name in values if name not in ANNOTATIONS})


def _read_csv(text: str, known: Collection[str], required: Collection[str]) -> Iterator[FileRow]:
    first_line = text.lstrip().partition("\n")[0]
    delimiter = max(DELIMITERS, key=first_line.count)
    header: list[str] = []
    for row_line, lines, cells in _split_csv(text, delimiter):
        if cells is None:
            problem = _(
                "Not CSV: a quotation mark is not closed or stands within a cell, or a cell is longer than "
                "{most} characters."
            ).format(most=csv.field_size_limit())
            yield FileRow(row_line, text=lines, problem=problem)
        elif any(cells) and not header:
            header = cells
            _require_columns(header, known, required)
        elif any(cells):
            row = _name_cells(row_line, header, cells)
            yield replace(row, text=lines) if row.problem else row


def _split_csv(text: str, delimiter: str) -> Iterator[tuple[int, str, list[str] | None]]:
    """Each row's first line, its text, and its cells without surrounding spaces; None if it is not CSV.

    A wrong row ends with its first line, so that an open quotation mark does not take the next rows along.
    """
    source = _Lines(io.StringIO(text, newline=""))
    reader = csv.reader(source, delimiter=delimiter, strict=True, skipinitialspace=True)
    while True:
        source.begin_row()
        first = source.number + 1
        try:
            cells = next(reader, None)
        except csv.Error:
            yield first, source.keep_first_line(), None
            reader = csv.reader(source, delimiter=delimiter, strict=True, skipinitialspace=True)
            continue
        if cells is None:
            return
        yield first, "".join(source.row), [cell.strip() for cell in cells]


class _Lines(Iterator[str]):
    """Lines of a text that can be given back, and those of the present row."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._given_back: deque[str] = deque()
        self.row: list[str] = []
        self.number = 0  # of the last line, from 1

    def __next__(self) -> str:
        if len(self.row) == MAX_LINES:
            raise csv.Error
        line = self._given_back.popleft() if self._given_back else next(self._lines)
        self.row.append(line)
        self.number += 1
        return line

    def begin_row(self) -> None:
        self.row = []

    def keep_first_line(self) -> str:
        """Give the lines after the row's first one back, and return the first one."""
        first, *rest = self.row
        self._given_back.extendleft(reversed(rest))
        self.number -= len(rest)
        return first


def _name_cells(line: int, header: list[str], cells: list[str]) -> FileRow:
    if len(cells) != len(header):
        problem = _("Cells in the row: {cells}; columns in the header: {columns}.")
        return FileRow(line, problem=problem.format(cells=len(cells), columns=len(header)))
    pairs = zip(header, cells, strict=True)
    return FileRow(line, {name: cell for name, cell in pairs if cell and name not in ANNOTATIONS})


def _require_columns(header: list[str], known: Collection[str], required: Collection[str]) -> None:
    if problem := unknown_fields(header, [*known, *sorted(ANNOTATIONS)]):
        raise UnreadableFile(problem)
    if missing := [name for name in required if name not in header]:
        raise UnreadableFile(_("The header lacks: {missing}.").format(missing=", ".join(missing)))
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise UnreadableFile(_("The header has these columns twice: {twice}.").format(twice=", ".join(twice)))
