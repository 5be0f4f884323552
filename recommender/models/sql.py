"""All raw SQL of the recommender: statements that are too slow or impossible with the ORM.

A request for a list whose candidates are up to date runs five: its key, the candidates, what was shown,
the songs, and the insert of the list. A list of an experiment also reads the challenger's candidates and
inserts a row; after new events or an ingestion run more is read. The ORM takes longer to build such a
statement than the draw of a list takes.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from copy import copy
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, Final, TypeVar
from uuid import UUID

import orjson
from django.db import connection, models
from django.db.models import (
    Aggregate,
    F,
    Field,
    FloatField,
    Func,
    IntegerField,
    JSONField,
    QuerySet,
    Sum,
    TextField,
    Value,
)
from django.db.models.expressions import RawSQL
from django.db.models.functions import MD5, Cast, Coalesce, Concat

Row = tuple[Any, ...]
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
SomeModel = TypeVar("SomeModel", bound=models.Model)

ENGAGED_LIST_COLUMNS: Final = (
    "served_list_id", "at", "listener_id", "version_id", "songs", "engaged", "early", "likes", "listens",
    "skips", "dislikes",
)  # fmt: skip
# Any number that no other advisory lock of this database has.
NAMES_LOCK: Final = 7_363_251
INSERTED_ROWS: Final = 500  # in one statement; longer statements save nothing
CANDIDATE_LIST_COLUMNS: Final = (
    "id", "listener_id", "version_id", "history", "run_id", "feedback_id", "candidates",
)  # fmt: skip
# Three more columns: whether the list includes the listener's newest session, whether it includes the newest
# feedback, and whether it was generated or checked since the newest ingestion run ended.
NEWEST_CANDIDATE_LIST: Final = f"""
    SELECT {", ".join(CANDIDATE_LIST_COLUMNS)}, NOT EXISTS (
        SELECT 1 FROM listening_history h
        WHERE h.user_id = s.listener_id AND h.unavailable_at IS NULL
        AND h.created_at > COALESCE(s.history_at, {{earliest}})
    ), NOT EXISTS (
        SELECT 1 FROM recommender_feedback f
        WHERE f.listener_id = s.listener_id AND f.id > s.feedback_id
    ), s.run_id = COALESCE((
        SELECT r.id FROM ingestion_ingestionrun r WHERE r.finished_at IS NOT NULL ORDER BY r.id DESC LIMIT 1
    ), 0)
    FROM recommender_shelf s WHERE listener_id = %s{{version}} ORDER BY id DESC LIMIT 1
"""  # noqa: S608


def newest_candidate_list(listener_id: int, version_id: int | None) -> Row | None:
    """The listener's newest candidate list by this version; None: the newest without a model.

    Returns:
        The CANDIDATE_LIST_COLUMNS, and whether the list includes the newest session, includes the newest
        feedback, and was generated or checked after the newest finished ingestion run.
    """
    if version_id is None:
        return _fetch_one(newest_candidate_list_query(" AND version_id IS NULL"), [listener_id])
    return _fetch_one(newest_candidate_list_query(" AND version_id = %s"), [listener_id, version_id])


def newest_candidate_list_of_any_version(listener_id: int) -> Row | None:
    return _fetch_one(newest_candidate_list_query(""), [listener_id])


def newest_candidate_list_query(version: str) -> str:
    # With OR instead of COALESCE, PostgreSQL reads the listener's whole history: 1.5 ms at 5 500 sessions.
    earliest = "'-infinity'" if _is_postgresql() else "''"
    return NEWEST_CANDIDATE_LIST.format(version=version, earliest=earliest)


def recently_shown_songs(
    listener_id: int, now: datetime, days: float, limit: int
) -> list[tuple[float, list[int]]]:
    """Age in days and song ids of the newest served lists of the last days, newest first."""
    # Earlier releases did not store the ids beside the items. Then the database extracts them, because
    # reading 100 whole lists takes eight times as long.
    ids = "song_ids::text" if _is_postgresql() else "song_ids"
    age = (
        "EXTRACT(EPOCH FROM (%s - generated_at))::float8 / 86400"
        if _is_postgresql()
        else "julianday(%s) - julianday(generated_at)"
    )
    query = f"""
        SELECT {age}, COALESCE({ids}, {_song_ids("items")}) FROM recommender_servedlist
        WHERE listener_id = %s AND generated_at BETWEEN %s AND %s ORDER BY generated_at DESC LIMIT {limit}
    """  # noqa: S608
    since, until = (connection.ops.adapt_datetimefield_value(at) for at in (now - timedelta(days=days), now))
    rows = _fetch_all(query, [until, listener_id, since, until])
    return [(age, orjson.loads(songs)) for age, songs in rows]


def row_with_parent(model: type[SomeModel], parent: str, column: str, value: Any) -> SomeModel | None:
    """The row whose unique `column` has this value, with the row of its required foreign key `parent`.

    It equals `model.objects.select_related(parent).filter(column=value).first()`, in a seventh of the time:
    most of the ORM's time goes into building the statement.
    """
    found = _fetch_one(_select_with_parent(model, parent, column), [value])
    if found is None:
        return None
    parent_model = _parent_model(model, parent)
    values, places = list(found), _converted_places(model, parent)
    converted = _converted_values(model, parent, tuple(found[place] for place in places))
    for place, one in zip(places, converted, strict=True):
        values[place] = copy(one)  # a list would be shared by all requests
    own, other = _concrete_names(model), _concrete_names(parent_model)
    row = model.from_db(connection.alias, own, values[: len(own)])
    setattr(row, parent, parent_model.from_db(connection.alias, other, values[len(own) :]))
    return row


def song_cards(song_ids: Sequence[int]) -> list[Row]:
    if not song_ids:
        return []
    # SQLite stores a duration as microseconds.
    seconds = "EXTRACT(EPOCH FROM duration)::bigint" if _is_postgresql() else "duration / 1000000"
    columns = f"id, name, artist, album, genres, {seconds}, {_is_servable('songs')}"
    marks = ", ".join(["%s"] * len(song_ids))
    return _fetch_all(f"SELECT {columns} FROM songs WHERE id IN ({marks})", song_ids)  # noqa: S608


def count_listeners(
    now: datetime, between: tuple[datetime, datetime] | None, half_life: timedelta | None, limit: int
) -> list[Row]:
    """The most popular songs that may be served: id, score, listeners, plays and texts.

    The score adds up listeners, weighted by the age of their last play; ties go to more plays, then to
    the lower id.

    Args:
        between: count only sessions of this period.
        half_life: after this time a listener counts half; None: all count alike.
    """
    # Counting in Python takes ten times as long.
    item, items = _session_items()
    age, round_score = (
        ("EXTRACT(EPOCH FROM %s - last_at)", "ROUND(SUM({weight})::numeric, 6)::double precision")
        if _is_postgresql()
        else ("(JULIANDAY(%s) - JULIANDAY(last_at)) * 86400.0", "ROUND(SUM({weight}), 6)")
    )
    # A time in the future says nothing about the age: it counts half, and does not lead the charts for years.
    weight = f"POWER(0.5, CASE WHEN last_at > %s THEN 1 ELSE {age} / %s END)" if half_life else "1.0"
    # Rounded: sums of the same numbers in another order differ in the last digit, and equal scores must tie.
    query = f"""
        SELECT s.id, p.score, p.listeners, p.plays, s.artist, s.genres, s.name, s.album
        FROM (
            SELECT song, {round_score.format(weight=weight)} AS score, COUNT(*) AS listeners,
                SUM(plays) AS plays
            FROM (
                SELECT {item} AS song, COUNT(*) AS plays, MAX(h.created_at) AS last_at
                FROM listening_history h CROSS JOIN {items}
                WHERE h.unavailable_at IS NULL {"AND h.created_at BETWEEN %s AND %s" if between else ""}
                GROUP BY h.user_id, 1
            ) by_listener GROUP BY song
        ) p JOIN songs s ON s.id = p.song
        WHERE {_is_servable("s")}
        ORDER BY p.score DESC, p.plays DESC, s.id LIMIT {limit}
    """  # noqa: S608
    at = connection.ops.adapt_datetimefield_value
    ages = [at(now), at(now), half_life.total_seconds()] if half_life else []
    rows = _fetch_all(query, [*ages, *map(at, between or ())])
    # PostgreSQL sums integers as decimals.
    return [(song, score, listeners, int(plays), *texts) for song, score, listeners, plays, *texts in rows]


def servable_song_ids() -> list[int]:
    query = f"SELECT id FROM songs WHERE {_is_servable('songs')} ORDER BY id"  # noqa: S608
    return [song for (song,) in _fetch_all(query, [])]


def song_plays_by_day(now: datetime) -> Iterator[Row]:
    """Yield song, day (since 1970, UTC; None: after `now`) and plays, in no particular order."""
    item, items = _session_items()
    query = f"""
        SELECT {item}, CASE WHEN h.created_at > %s THEN NULL ELSE {_day("h.created_at")} END, COUNT(*)
        FROM listening_history h CROSS JOIN {items} WHERE h.unavailable_at IS NULL GROUP BY 1, 2
    """  # noqa: S608
    return _stream(query, [connection.ops.adapt_datetimefield_value(now)])


def song_listeners_by_day(now: datetime) -> Iterator[Row]:
    """Yield song, day (since 1970, UTC) and how many listeners last played the song on that day.

    Plays after `now` do not count; the day of listeners who have no other is None.
    """
    item, items = _session_items()
    query = f"""
        SELECT song, {_day("last_at")}, COUNT(*) FROM (
            SELECT {item} AS song, MAX(CASE WHEN h.created_at <= %s THEN h.created_at END) AS last_at
            FROM listening_history h CROSS JOIN {items} WHERE h.unavailable_at IS NULL GROUP BY h.user_id, 1
        ) by_listener GROUP BY 1, 2
    """  # noqa: S608
    return _stream(query, [connection.ops.adapt_datetimefield_value(now)])


def song_texts(song_ids: Sequence[int]) -> dict[int, Row]:
    """Artist, genres, name and album of songs that may be served."""
    if not song_ids:
        return {}
    marks = ", ".join(["%s"] * len(song_ids))
    query = (
        f"SELECT id, artist, genres, name, album FROM songs WHERE id IN ({marks}) AND {_is_servable('songs')}"  # noqa: S608
    )
    return {song: tuple(texts) for song, *texts in _fetch_all(query, song_ids)}


def count_songs(sessions: QuerySet[Any]) -> list[Row]:
    """Id, plays and time of the last play (seconds since 1970) of each song."""
    item, items = _session_items()
    columns = sessions.annotate(epoch=epoch_seconds("created_at")).values("items", "epoch")
    query, parameters = columns.query.sql_with_params()
    counted = f"SELECT {item}, COUNT(*), MAX(h.epoch) FROM ({query}) h CROSS JOIN {items} GROUP BY 1"  # noqa: S608
    return _fetch_all(counted, parameters)


def existing_ids(model: type[models.Model], ids: Collection[int]) -> set[int]:
    """Those of these primary keys that exist; the ORM takes ten times as long to build the statement."""
    if not ids:
        return set()
    key, marks = model._meta.pk.column, ", ".join(["%s"] * len(ids))
    query = f"SELECT {key} FROM {model._meta.db_table} WHERE {key} IN ({marks})"  # noqa: S608
    return {found for (found,) in _fetch_all(query, list(ids))}


def listeners_of_lists(list_ids: Collection[UUID]) -> dict[UUID, int]:
    """The listener of each of these served lists that exists."""
    if not list_ids:
        return {}
    marks = ", ".join(["%s"] * len(list_ids))
    query = f"SELECT id, listener_id FROM recommender_servedlist WHERE id IN ({marks})"  # noqa: S608
    ids = list(list_ids) if _is_postgresql() else [one.hex for one in list_ids]
    return {as_uuid(found): listener for found, listener in _fetch_all(query, ids)}


def has_feedback(key_id: int, event_ids: Collection[str]) -> bool:
    """Whether this key, or an unknown one, has sent an event with one of these ids."""
    marks = ", ".join(["%s"] * len(event_ids))
    query = f"""
        SELECT 1 FROM recommender_feedback WHERE event_id IN ({marks}) AND (key_id = %s OR key_id IS NULL)
        LIMIT 1
    """  # noqa: S608
    return bool(event_ids) and _fetch_one(query, [*event_ids, key_id]) is not None


def newest_finished_run() -> int:
    """The id of the newest ingestion run that has finished; 0 for none."""
    query = "SELECT id FROM ingestion_ingestionrun WHERE finished_at IS NOT NULL ORDER BY id DESC LIMIT 1"
    found = _fetch_one(query, [])
    return found[0] if found else 0


def favourite_genres(listener_ids: Collection[int]) -> dict[int, str]:
    """The favourite genres of these listeners, in ascending order of ids, without unknown ids."""
    if not listener_ids:
        return {}
    marks = ", ".join(["%s"] * len(listener_ids))
    query = f"SELECT id, favorite_genres FROM users WHERE id IN ({marks}) ORDER BY id"  # noqa: S608
    return dict(_fetch_all(query, list(listener_ids)))


def newest_sessions(listener_ids: Collection[int], until: datetime | None, limit: int) -> Iterator[Row]:
    """Yield each listener's newest available sessions before a time, at most `limit`.

    The columns are the listener, the time and that of the last change in microseconds since 1970, the song
    ids as JSON text, and the id.
    """
    text = "items::text" if _is_postgresql() else "items"
    columns = (
        f"user_id AS listener, {_microseconds_of('created_at')} AS at, "
        f"{_microseconds_of('updated_at')} AS changed_at, {text} AS songs, id"
    )
    source = "listening_history", "user_id", "created_at"
    return _newest_rows(columns, source, "unavailable_at IS NULL", [], listener_ids, until, limit)


def newest_feedback(listener_ids: Collection[int], until: datetime | None, limit: int) -> Iterator[Row]:
    """Yield each listener's newest feedback before a time, at most `limit`.

    The columns are the listener, the id, the song, the kind, the seconds listened, the time in seconds since
    1970, and whether it counts: it was not withdrawn, and is on a song of the current catalogue.
    """
    reset_at = "SELECT finished_at FROM ingestion_ingestionrun WHERE new_catalogue ORDER BY id DESC LIMIT 1"
    columns = (
        f"listener_id AS listener, id, song_id, kind, seconds, {_seconds_of('at')} AS epoch, "
        f"(received_at > COALESCE(({reset_at}), %s) AND withdrawn_at IS NULL) AS counts"
    )
    epoch = connection.ops.adapt_datetimefield_value(EPOCH)
    source = "recommender_feedback", "listener_id", "at"
    return _newest_rows(columns, source, "1 = 1", [epoch], listener_ids, until, limit)


def _newest_rows(
    columns: str,
    source: tuple[str, str, str],
    condition: str,
    parameters: list[Any],
    listener_ids: Collection[int],
    until: datetime | None,
    limit: int,
) -> Iterator[Row]:
    """Yield the columns of each listener's newest rows; `source`: table, and columns of listener and time."""
    if not listener_ids:
        return
    table, listener, at = source
    marks = ", ".join(["%s"] * len(listener_ids))
    before = f" AND {at} < %s" if until is not None else ""
    query = f"""
        SELECT * FROM (
            SELECT {columns}, ROW_NUMBER() OVER (PARTITION BY {listener} ORDER BY id DESC) AS place
            FROM {table} WHERE {condition} AND {listener} IN ({marks}){before}
        ) newest WHERE place <= {limit}
    """  # noqa: S608
    values = [*parameters, *listener_ids]
    if until is not None:
        values.append(connection.ops.adapt_datetimefield_value(until))
    for row in _stream(query, values):
        yield row[:-1]


def insert_row(row: models.Model) -> None:
    """Insert a row as `row.save(force_insert=True)` does, but without signals."""
    fields, query = _insert_statement(type(row))
    with connection.cursor() as cursor:
        cursor.execute(query, [_database_value(field, row) for field in fields])
    row._state.adding, row._state.db = False, connection.alias  # noqa: SLF001


def insert_row_unless_exists(row: models.Model) -> None:
    """Insert a row with a generated key, unless a unique constraint forbids it; the key is not set."""
    fields, query = _insert_statement(type(row), has_key=False)
    with connection.cursor() as cursor:
        cursor.execute(f"{query} ON CONFLICT DO NOTHING", [_database_value(field, row) for field in fields])


def json_column(model: type[models.Model], column: str, batch_size: int) -> Iterator[tuple[int, str | None]]:
    """Yield each row's id and the text of a JSON column, in ascending order of id.

    Callers parse the text with orjson, four times as fast as Django does.
    """
    cast = "::text" if _is_postgresql() else ""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT id, {column}{cast} FROM {model._meta.db_table} ORDER BY id")  # noqa: S608
        while rows := cursor.fetchmany(batch_size):
            yield from rows


def ids_as_one_parameter(ids: Sequence[int]) -> RawSQL:
    """A subquery that passes all ids as one parameter: SQLite allows only 32 766."""
    rows = (
        "SELECT value::bigint FROM jsonb_array_elements_text(%s::jsonb)"
        if _is_postgresql()
        else "SELECT value FROM json_each(%s)"
    )
    return RawSQL(rows, [orjson.dumps(ids).decode()])  # noqa: S611


def epoch_seconds(field: str) -> Any:
    """A time as seconds since 1970, at a tenth of the cost of a datetime; SQLite rounds to 1 ms."""
    # A plain Field, because Django would convert each value of a FloatField again.
    return Func(F(field), template=_as_template(_seconds_of), output_field=Field())


def epoch_microseconds(field: str) -> Any:
    """A time as whole microseconds since 1970, exact, at a tenth of the cost of a datetime."""
    return Func(F(field), template=_as_template(_microseconds_of), output_field=Field())


def _as_template(expression: Callable[[str], str]) -> str:
    """The template of a Func from a function that makes SQL for a column."""
    return expression("COLUMN").replace("%", "%%").replace("COLUMN", "%(expressions)s")


def _seconds_of(column: str) -> str:
    if _is_postgresql():
        return f"EXTRACT(EPOCH FROM {column})::double precision"
    return f"ROUND((JULIANDAY({column}) - 2440587.5) * 86400.0, 3)"


def _microseconds_of(column: str) -> str:
    if _is_postgresql():
        return f"(EXTRACT(EPOCH FROM {column}) * 1000000)::bigint"
    # A text with six decimals, or with none; STRFTIME would round them up to the next second.
    return (
        f"CAST(STRFTIME('%%s', SUBSTR({column}, 1, 19)) AS INTEGER) * 1000000"
        f" + CAST(SUBSTR({column}, 21) AS INTEGER)"
    )


def utc_day(field: str) -> Any:
    """A time's day in UTC, to group by; SQLite would call Python for each row of Django's function."""
    template = (
        "(%(expressions)s AT TIME ZONE 'UTC')::date" if _is_postgresql() else "SUBSTR(%(expressions)s, 1, 10)"
    )
    return Func(F(field), template=template, output_field=Field())


def json_text(field: str) -> Any:
    """The text of a JSON column, for orjson, which parses it four times as fast as Django does."""
    return Func(F(field), template=f"%(expressions)s{'::text' if _is_postgresql() else ''}",
                output_field=Field())  # fmt: skip


def total_seconds(field: str) -> Any:
    # SQLite stores a duration as microseconds.
    template = (
        "EXTRACT(EPOCH FROM %(expressions)s)::double precision" if _is_postgresql()
        else "%(expressions)s / 1000000.0"
    )  # fmt: skip
    return Func(F(field), template=template, output_field=FloatField())


def texts_as_one_parameter(texts: Sequence[str]) -> RawSQL:
    """A subquery that passes all texts as one parameter, one text per row."""
    rows = (
        "SELECT jsonb_array_elements_text(%s::jsonb)"
        if _is_postgresql()
        else "SELECT value FROM json_each(%s)"
    )
    return RawSQL(rows, [orjson.dumps(texts).decode()])  # noqa: S611


def json_array_length(field: str) -> Any:
    name = "jsonb_array_length" if _is_postgresql() else "json_array_length"
    return Func(F(field), function=name, output_field=IntegerField())


def rows_digest(*fields: str) -> Any:
    """An aggregate that changes with the values of these fields in any row of a group."""
    columns = [Cast(F(field), TextField()) for field in fields]
    parts = [part for column in columns for part in (column, Value(" "))]
    row = Concat(*parts, output_field=TextField())
    if _is_postgresql():
        # Django's Sum of integers has a decimal type on PostgreSQL, so it can't overflow.
        return Sum(Func(row, Value(0), function="hashtextextended", output_field=IntegerField()))
    return MD5(Aggregate(row, function="group_concat", output_field=TextField()))


def unconverted(field: str) -> Any:
    """A column as the driver reads it; Django's conversion of a million times costs 10 seconds."""
    return Func(F(field), template="%(expressions)s", output_field=Field())


def as_uuid(value: UUID | str) -> UUID:
    return value if isinstance(value, UUID) else UUID(value)


def as_time(value: datetime) -> datetime:
    # SQLite knows no time zones, so its times are in UTC.
    return value if value.tzinfo is not None else value.replace(tzinfo=UTC)


def song_ids_of_list() -> Any:
    """The song ids of a served list, as JSON text; earlier releases stored them only in the items."""
    extracted = Func(F("items"), template=_song_ids("%(expressions)s"), output_field=Field())
    return Coalesce(json_text("song_ids"), extracted, output_field=Field())


def engagement_by_day(version_id: int, since: datetime, until: datetime) -> list[Row]:
    """Sums of a version's engaged lists for each day (since 1970, UTC) and listener, in this order.

    Returns:
        The day, the numbers of lists, of lists with an early count and of final lists, and the sums of
        engaged and early engaged songs, likes, skips, dislikes and listens.
    """
    query = f"""
        SELECT {_day("at")}, COUNT(*), COUNT(early), SUM(CASE WHEN final THEN 1 ELSE 0 END), SUM(engaged),
            COALESCE(SUM(early), 0), SUM(likes), SUM(skips), SUM(dislikes), SUM(listens)
        FROM recommender_engagedlist WHERE version_id = %s AND at >= %s AND at < %s
        GROUP BY 1, listener_id ORDER BY 1, listener_id
    """  # noqa: S608
    at = connection.ops.adapt_datetimefield_value
    return _fetch_all(query, [version_id, at(since), at(until)])


def count_plays_of_version(
    version_id: int, listeners_since: datetime, since: datetime, until: datetime
) -> tuple[int, int]:
    """Plays in sessions of the period by listeners of the version, and those that followed its lists.

    Args:
        listeners_since: listeners of the version got a list between this time and `until`.
    """
    length = "jsonb_array_length" if _is_postgresql() else "json_array_length"
    # By the engaged lists, because a served list has kilobytes.
    query = f"""
        SELECT (
            SELECT SUM({length}(items)) FROM listening_history
            WHERE created_at >= %s AND created_at < %s AND unavailable_at IS NULL AND user_id IN (
                SELECT listener_id FROM recommender_engagedlist WHERE version_id = %s AND at >= %s AND at < %s
            )
        ), (
            SELECT COUNT(*) FROM recommender_attributedlisten a WHERE at >= %s AND at < %s AND EXISTS (
                SELECT 1 FROM recommender_engagedlist e
                WHERE e.served_list_id = a.served_list_id AND e.version_id = %s
            )
        )
    """  # noqa: S608
    early, begins, ends = map(connection.ops.adapt_datetimefield_value, (listeners_since, since, until))
    found = _fetch_one(query, [begins, ends, version_id, early, ends, begins, ends, version_id])
    total, recommended = found or (0, 0)
    return int(total or 0), recommended


def days_with_sessions(after: datetime, until: datetime) -> list[int]:
    """Days (since 1970, UTC) with sessions after a time, ascending."""
    query = f"""
        SELECT DISTINCT {_day("created_at")} FROM listening_history WHERE created_at > %s AND created_at <= %s
        ORDER BY 1
    """  # noqa: S608
    return [
        day
        for (day,) in _fetch_all(query, list(map(connection.ops.adapt_datetimefield_value, (after, until))))
    ]


def upsert_engaged_lists(rows: Sequence[Row]) -> None:
    """Store the values of ENGAGED_LIST_COLUMNS of each list; rows that do not change are not written.

    New rows are not final; whether a stored row is final stays.
    """
    is_other = "IS DISTINCT FROM" if _is_postgresql() else "IS NOT"
    counts = ENGAGED_LIST_COLUMNS[4:]
    changes = " OR ".join(f"recommender_engagedlist.{name} {is_other} excluded.{name}" for name in counts)
    update = ", ".join(f"{name} = excluded.{name}" for name in counts)
    conflict = f"(served_list_id) DO UPDATE SET {update} WHERE {changes}"
    columns = (*ENGAGED_LIST_COLUMNS, "final")
    _insert_values("recommender_engagedlist", columns, [(*row, False) for row in rows], conflict)


def insert_attributed_listens(rows: Sequence[Row]) -> None:
    """Store served list, time and song of plays; a song counts once for a list."""
    columns = ("served_list_id", "at", "song_id")
    _insert_values("recommender_attributedlisten", columns, rows, "(served_list_id, song_id) DO NOTHING")


def _insert_values(table: str, columns: Sequence[str], rows: Sequence[Row], conflict: str) -> None:
    """Insert rows that begin with a list's id and a time; the ORM takes three times as long."""
    marks = f"({', '.join(['%s'] * len(columns))})"
    insert = f"INSERT INTO {table} ({', '.join(columns)}) VALUES"
    with connection.cursor() as cursor:
        if not _is_postgresql():
            to_text = connection.ops.adapt_datetimefield_value
            plain = [(list_id.hex, to_text(at), *values) for list_id, at, *values in rows]
            cursor.executemany(f"{insert} {marks} ON CONFLICT {conflict}", plain)
            return
        for start in range(0, len(rows), INSERTED_ROWS):
            block = rows[start : start + INSERTED_ROWS]
            query = f"{insert} {', '.join([marks] * len(block))} ON CONFLICT {conflict}"
            cursor.execute(query, [value for row in block for value in row])


def _song_ids(items: str) -> str:
    if _is_postgresql():
        return f"jsonb_path_query_array({items}, '$[*].song')::text"
    return f"(SELECT json_group_array(json_extract(value, '$.song')) FROM json_each({items}))"  # noqa: S608


def _is_servable(table: str) -> str:
    """SQL condition: the source still sends the song, with a name and an artist."""
    blank = (
        "' ' || CHR(9) || CHR(10) || CHR(13) || CHR(160)" if _is_postgresql() else "CHAR(32, 9, 10, 13, 160)"
    )
    named = " AND ".join(f"TRIM({table}.{column}, {blank}) <> ''" for column in ("name", "artist"))
    return f"({table}.unavailable_at IS NULL AND {named})"


def _session_items() -> tuple[str, str]:
    """SQL expression and FROM item of the songs in the sessions `h`."""
    if _is_postgresql():
        return "item.value::bigint", "jsonb_array_elements_text(h.items) AS item(value)"
    return "item.value", "json_each(h.items) AS item"


def _day(column: str) -> str:
    """SQL expression of a time's day: days since 1970, in UTC."""
    if _is_postgresql():
        return f"(({column} AT TIME ZONE 'UTC')::date - DATE '1970-01-01')"
    # Of the date alone: SQLite rounds times to milliseconds, and so the last one of a day to the next day.
    return f"CAST(JULIANDAY(SUBSTR({column}, 1, 10)) - 2440587.5 AS INTEGER)"


def insert_rows(model: type[models.Model], rows: Sequence[models.Model]) -> None:
    """Insert new rows, on PostgreSQL by COPY; their primary keys are not set."""
    if not _is_postgresql():
        model._default_manager.bulk_create(rows)
        return
    fields = [field for field in model._meta.concrete_fields if not field.primary_key]
    columns = ", ".join(str(field.column) for field in fields)
    # In the text format, bytes take twice their size.
    statement = f"COPY {model._meta.db_table} ({columns}) FROM STDIN (FORMAT BINARY)"
    # Django turns errors of `execute` into its own, but not those of COPY.
    with connection.wrap_database_errors, connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types([_copy_type(field) for field in fields])
        for row in rows:
            copy.write_row([getattr(row, field.attname) for field in fields])


def _copy_type(field: "Field[Any, Any]") -> str:
    # "varchar(80)" and "timestamp with time zone" as psycopg knows them.
    name = (field.db_type(connection) or "").split("(")[0]
    return {"timestamp with time zone": "timestamptz"}.get(name, name)


def lock_names() -> None:
    """Let transactions that write names of clusters, or rules of names, take turns until each ends.

    SQLite has one writer at a time anyway.
    """
    if _is_postgresql():
        # Not a lock of rows: at first there are no rules and no clusters.
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [NAMES_LOCK])


def _is_postgresql() -> bool:
    return connection.vendor == "postgresql"


def _fetch_one(query: str, parameters: Sequence[Any]) -> Row | None:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        row: Row | None = cursor.fetchone()
        return row


def _fetch_all(query: str, parameters: Sequence[Any]) -> list[Row]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return list(cursor.fetchall())


def _stream(query: str, parameters: Sequence[Any], batch_size: int = 20_000) -> Iterator[Row]:
    # A plain cursor of psycopg would read the whole result first.
    with connection.chunked_cursor() as cursor:
        cursor.execute(query, parameters)
        while rows := cursor.fetchmany(batch_size):
            yield from rows


@lru_cache(maxsize=8)
def _insert_statement(
    model: type[models.Model], *, has_key: bool = True
) -> tuple[Sequence["Field[Any, Any]"], str]:
    fields = [field for field in model._meta.concrete_fields if has_key or not field.primary_key]
    columns = ", ".join(str(field.column) for field in fields)
    marks = ", ".join(["%s"] * len(fields))
    return fields, f"INSERT INTO {model._meta.db_table} ({columns}) VALUES ({marks})"  # noqa: S608


def _parent_model(model: type[models.Model], parent: str) -> type[models.Model]:
    related: Any = model._meta.get_field(parent).related_model
    return related  # type: ignore[no-any-return]


@lru_cache(maxsize=8)
def _concrete_names(model: type[models.Model]) -> list[str]:
    return [str(field.attname) for field in model._meta.concrete_fields]


@lru_cache(maxsize=8)
def _select_with_parent(model: type[models.Model], parent: str, column: str) -> str:
    key: Any = model._meta.get_field(parent)
    own, other = model._meta, _parent_model(model, parent)._meta
    columns = [f"own.{field.column}" for field in own.concrete_fields]
    columns += [f"parent.{field.column}" for field in other.concrete_fields]
    return f"""
        SELECT {", ".join(columns)} FROM {own.db_table} own
        JOIN {other.db_table} parent ON parent.{other.pk.column} = own.{key.column} WHERE own.{column} = %s
    """  # noqa: S608


@lru_cache(maxsize=8)
def _converted_places(model: type[models.Model], parent: str) -> tuple[int, ...]:
    """The places of the columns of `_select_with_parent` whose values the ORM converts."""
    return tuple(_converters(model, parent))


def _converters(model: type[models.Model], parent: str) -> dict[int, Any]:
    compiler = model._default_manager.all().query.get_compiler(connection.alias)
    columns = [
        field.get_col(one._meta.db_table)
        for one in (model, _parent_model(model, parent))
        for field in one._meta.concrete_fields
    ]
    return dict(compiler.get_converters(columns))


# Most requests read the same row as the one before, and times take longer to parse than to compare. Names,
# addresses and digests need no conversion, so that none of them is kept.
@lru_cache(maxsize=64)
def _converted_values(model: type[models.Model], parent: str, stored: Row) -> Row:
    compiler = model._default_manager.all().query.get_compiler(connection.alias)
    converters = dict(enumerate(_converters(model, parent).values()))
    (values,) = compiler.apply_converters([stored], converters)
    return tuple(values)


def _database_value(field: "Field[Any, Any]", row: models.Model) -> Any:
    value = getattr(row, field.attname)
    if value is None:
        return None
    if isinstance(field, JSONField):
        return orjson.dumps(value).decode()
    if isinstance(value, date | UUID):
        return field.get_db_prep_save(value, connection)
    return value
