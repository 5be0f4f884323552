"""Validates the source's rows: each raw row becomes a record or a rejected row with the reason.

A record is a tuple in the order of `ResourceSchema.columns`, in the format of the database: ids are ints,
durations microseconds, times UTC text without zone (`2026-11-22 18:02:58.788203`, no fraction if it is
zero), `items` and `audio_features` JSON text.
"""

import unicodedata
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from enum import StrEnum
from typing import Annotated, Any, Final, NamedTuple, NotRequired, get_type_hints

import orjson
from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from ingestion.source.repairs import read_duration, read_id, read_time, repair_row

Record = tuple[Any, ...]
MICROSECONDS_LENGTH: Final = len("2026-11-22T18:02:58.788203")


class Resource(StrEnum):
    """The source's lists, by their names in this product."""

    SONGS = "songs"
    USERS = "users"
    LISTENING_HISTORY = "listening_history"


def _microseconds(value: object) -> int:
    read = read_duration(value)
    if read is None:
        raise PydanticCustomError("duration", "should be a duration: seconds, H:MM:SS or ISO 8601")
    return read


class UnreadableTime(ValueError):
    """The value can't be read as a time."""


# Values that both databases can store: PostgreSQL allows no NUL in text, and ids have 64 bits.
# No name or list of genres is longer; one of megabytes would be drawn on every page.
MAX_TEXT_CHARS: Final = 10_000
Text = Annotated[str, Field(pattern=r"^[^\x00]*$", max_length=MAX_TEXT_CHARS)]
Id = Annotated[int, Field(strict=True, ge=-(2**63), le=2**63 - 1)]
Microseconds = Annotated[int, BeforeValidator(_microseconds)]
Feature = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Year = Annotated[int, Field(strict=True, ge=0, le=9999)]


class SourceRow(TypedDict):
    # Read by `to_record`: a validator in Python would be called from pydantic twice a row.
    created_at: Any
    updated_at: Any


class SongRow(SourceRow):
    id: Id
    name: Text
    artist: Text
    songwriters: Text
    duration: Microseconds
    genres: Text
    album: Text
    audio_features: NotRequired[dict[Text, Feature | None] | None]
    release_year: NotRequired[Year | None]


class ListenerRow(SourceRow):
    id: Id
    first_name: Text
    last_name: Text
    email: Text
    gender: Text
    favorite_genres: Text


class ListeningHistoryRow(SourceRow):
    user_id: Id
    # The source's API allows null for a session without songs.
    items: list[Id] | None


TimeReader = Callable[[Any], str]  # gives the text of a time in UTC


def song_record(row: SongRow, utc: TimeReader) -> Record:
    features = row.get("audio_features")
    return (
        row["id"], row["name"], row["artist"], row["songwriters"], row["duration"], row["genres"],
        row["album"], utc(row["created_at"]), utc(row["updated_at"]),
        None if features is None else features_json(features), row.get("release_year"),
    )  # fmt: skip


def listener_record(row: ListenerRow, utc: TimeReader) -> Record:
    return (
        row["id"], row["first_name"], row["last_name"], row["email"], row["gender"], row["favorite_genres"],
        utc(row["created_at"]), utc(row["updated_at"]),
    )  # fmt: skip


def session_record(row: ListeningHistoryRow, utc: TimeReader) -> Record:
    # Occurrence 0: sessions with the same time are numbered only after all pages were read.
    return (
        row["user_id"], utc(row["created_at"]), 0, utc(row["updated_at"]), to_json(row["items"] or []),
    )  # fmt: skip


def features_json(features: dict[str, float | None]) -> str:
    # 0.0 + x turns -0.0 into 0.0: PostgreSQL stores no negative zero, so the row would differ in every run.
    return to_json({name: None if value is None else 0.0 + value for name, value in features.items()})


def to_json(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


class RejectedRow(NamedTuple):
    row: Any
    field: str
    reason: str


# Limits for unknown field names; a source could invent one for each row and fill the report.
LONGEST_NAME: Final = 100
MAX_NAMES: Final = 50
OTHER_NAMES: Final = "(other fields)"


def clean_text(text: object) -> str:
    """The text with NUL characters and lone surrogates escaped, which databases can't store."""
    return str(text).replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()


def clean_name(name: object) -> str:
    text = clean_text(name)
    return text if len(text) <= LONGEST_NAME else text[: LONGEST_NAME - 1] + "…"


def limit_names(names: Counter[str]) -> Counter[str]:
    """Counts of the most frequent names; the counts of all others are summed under one name."""
    if len(names) <= MAX_NAMES:
        return names
    kept = Counter(dict(names.most_common(MAX_NAMES)))
    kept[OTHER_NAMES] += sum(names.values()) - sum(kept.values())
    return kept


def fold_text(value: object) -> str:
    """The text's letters and digits without case and accents, for comparison."""
    text = unicodedata.normalize("NFKD", str(value if value is not None else "")).casefold()
    return "".join(letter for letter in text if letter.isalnum())


# Factors between a duration in milliseconds or minutes and one in seconds.
UNIT_FACTORS: Final = (1000, 60)


@dataclass(frozen=True)
class ResourceSchema:
    resource: Resource
    path: str  # at the source
    row_type: Any  # a TypedDict: pydantic checks it in half of the time that a model takes
    to_record: Callable[[Any, TimeReader], Record]
    columns: tuple[str, ...]  # in the order of a record
    key_length: int  # number of leading columns that form the key in the table
    # Indices of columns that tell whether an id still means the same song or listener.
    identity: tuple[int, ...]
    # Number of leading columns that form the source's key. Shorter than `key_length` if different rows may
    # share it; the last key column then numbers these rows.
    source_key_length: int
    identifying: frozenset[str]  # fields that a row must have; all others may be empty

    def is_reidentified(self, before: Record, after: Record) -> bool:
        """Whether an id means another song or listener now.

        At least half of the identifying fields that have a value must differ, and at least two, compared
        without case, accents and punctuation, because a single field may be edited.
        """
        pairs = [(fold_text(before[place]), fold_text(after[place])) for place in self.identity]
        filled = [(old, new) for old, new in pairs if old or new]
        different = sum(old != new for old, new in filled)
        return different >= min(2, len(filled)) and 2 * different >= len(filled) > 0

    def find_rewrite(self, before: Record, after: Record) -> str:
        """The kind of format change, such as another unit; empty if none."""
        old, new = ([fold_text(row[place]) for place in self.identity] for row in (before, after))
        if old != new and sorted(old) == sorted(new):
            return "identifying fields changed places"
        if "duration" in self.columns:
            place = self.column_index("duration")
            shorter, longer = sorted((before[place], after[place]))
            for factor in UNIT_FACTORS:
                # The values may be rounded: 200.4 seconds may have been 200.
                if shorter and abs(longer / shorter - factor) <= 0.01 * factor:
                    return f"duration changed by the factor {factor}"
        return ""

    @property
    def has_weak_key(self) -> bool:
        return self.source_key_length < self.key_length

    def row_key(self, row: Any) -> Hashable:
        if isinstance(row, dict):
            names = ("id",) if self.source_key_length == 1 else ("user_id", "created_at")
            values = tuple(row.get(name) for name in names)
            if all(isinstance(value, int | str) for value in values):
                return values[0] if self.source_key_length == 1 else values
        return orjson.dumps(row, default=repr, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)

    def column_index(self, name: str) -> int:
        return self.columns.index(name)


SONG_SCHEMA: Final = ResourceSchema(
    Resource.SONGS, "/tracks", SongRow, song_record,
    ("id", "name", "artist", "songwriters", "duration", "genres", "album", "created_at", "updated_at",
     "audio_features", "release_year"),
    key_length=1, identity=(1, 2, 4, 6), source_key_length=1,
    identifying=frozenset({"id", "name", "artist"}),
)  # fmt: skip
USER_SCHEMA: Final = ResourceSchema(
    Resource.USERS, "/users", ListenerRow, listener_record,
    ("id", "first_name", "last_name", "email", "gender", "favorite_genres", "created_at", "updated_at"),
    key_length=1, identity=(1, 2, 3), source_key_length=1, identifying=frozenset({"id"}),
)  # fmt: skip
LISTENING_HISTORY_SCHEMA: Final = ResourceSchema(
    Resource.LISTENING_HISTORY, "/listen_history", ListeningHistoryRow, session_record,
    ("user_id", "created_at", "occurrence", "updated_at", "items"), key_length=3, identity=(),
    source_key_length=2, identifying=frozenset({"user_id", "created_at"}),
)  # fmt: skip
SCHEMAS: Final[tuple[ResourceSchema, ...]] = (SONG_SCHEMA, USER_SCHEMA, LISTENING_HISTORY_SCHEMA)


def schema_for(resource: str) -> ResourceSchema:
    return next(schema for schema in SCHEMAS if schema.resource == resource)


class RowValidator:
    """Validates the rows of one resource.

    Args:
        zone: time zone of source times that have none.
    """

    def __init__(self, schema: ResourceSchema, zone: tzinfo = UTC) -> None:
        self._schema = schema
        self._row_adapter: TypeAdapter[Any] = TypeAdapter(schema.row_type)
        self._list_adapter: TypeAdapter[list[Any]] = TypeAdapter(list[schema.row_type])  # type: ignore[name-defined]
        self._known_fields = get_type_hints(schema.row_type).keys()
        self._zone = zone

    def validate_rows(
        self, rows: Sequence[Any], corrections: Counter[str] | None = None
    ) -> list[Record | RejectedRow]:
        """Validate rows; returns one record or rejected row for each, in order.

        Args:
            corrections: counter that is updated with the number of rows by repair.
        """
        try:
            valid = self._list_adapter.validate_python(rows)
            return [self._schema.to_record(row, self._time_text) for row in valid]
        except (ValidationError, OverflowError, ValueError):
            noted: Counter[str] = Counter() if corrections is None else corrections
            return [self._validate_row(row, noted) for row in rows]

    def unknown_fields(self, rows: Iterable[Any]) -> Counter[str]:
        unknown: Counter[str] = Counter()
        for row in rows:
            if isinstance(row, dict) and not row.keys() <= self._known_fields:
                unknown.update(clean_name(name) for name in row.keys() - self._known_fields)
        return limit_names(unknown)

    def read_key(self, row: Any) -> tuple[Any, ...] | None:
        if not isinstance(row, dict):
            return None
        if self._schema.source_key_length == 1:
            pk = read_id(row.get("id"))
            return None if pk is None else (pk,)
        user, moment = read_id(row.get("user_id")), read_time(row.get("created_at"))
        if user is None or moment is None or not self._is_representable(moment):
            return None
        return (user, self._utc(moment))

    def _validate_row(self, row: Any, corrections: Counter[str]) -> Record | RejectedRow:
        result = self._validate_as_is(row, row)
        if not isinstance(result, RejectedRow) or not isinstance(row, dict):
            return result
        repaired, notes = repair_row(
            row, self._known_fields, self._schema.identifying, self._is_representable
        )
        if not notes:
            return result
        result = self._validate_as_is(repaired, row)
        if not isinstance(result, RejectedRow):
            corrections.update(notes)
        return result

    def _validate_as_is(self, row: Any, original: Any) -> Record | RejectedRow:
        try:
            return self._schema.to_record(self._row_adapter.validate_python(row), self._time_text)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            field = clean_text(".".join(map(str, first["loc"])))[:100]
            return RejectedRow(original, field, _reason(first["type"], first["msg"]))
        except UnreadableTime as error:
            field = next(name for name in ("created_at", "updated_at") if read_time(row[name]) is None)
            return RejectedRow(original, field, str(error))
        except (OverflowError, ValueError):
            return RejectedRow(original, "created_at", "is a time outside the calendar in UTC")

    def _is_representable(self, moment: datetime) -> bool:
        try:
            self._utc(moment)
        except (OverflowError, ValueError):
            return False
        return True

    def _time_text(self, value: object) -> str:
        # Cutting the text is several times as fast as formatting the time.
        if (
            type(value) is str and len(value) == MICROSECONDS_LENGTH and value[19] == "."
            and value[5] != "W" and self._zone is UTC
        ):  # fmt: skip
            try:
                is_utc = datetime.fromisoformat(value).tzinfo is None
            except ValueError:
                is_utc = False
            if is_utc:
                return f"{value[:10]} {value[11:19] if value[20:] == '000000' else value[11:]}"
        moment = read_time(value)
        if moment is None:
            raise UnreadableTime("should be a time as ISO 8601, or in seconds since 1970")
        return self._utc(moment)

    def _utc(self, moment: datetime) -> str:
        if moment.tzinfo is not None or self._zone is not UTC:
            moment = (moment if moment.tzinfo else moment.replace(tzinfo=self._zone)).astimezone(UTC)
            moment = moment.replace(tzinfo=None)
        return moment.isoformat(" ")


# Reasons in the terms of the contract, by pydantic's error type.
REASONS: Final = {
    "string_pattern_mismatch": "contains a NUL character",
    "string_too_long": f"has more than {MAX_TEXT_CHARS} characters",
    "missing": "is missing",
    "int_type": "should be an integer",
    "int_from_float": "should be an integer",
    "string_type": "should be a text",
    "list_type": "should be a list",
    "float_type": "should be a number",
    "dict_type": "should be an object",
    "model_type": "should be an object",
}


def _reason(kind: str, message: str) -> str:
    if kind in REASONS:
        return REASONS[kind]
    return message.removeprefix("Input ").removeprefix("Value error, ")
