"""Exports listening sessions to Parquet files, which Spark's workers read instead of the database.

A file holds the available sessions with successive ids. Ids come in the order of import, so an export after a
day's import writes the newest file again and appends further ones. An older file is written again if one of
its sessions has changed.
"""

import json
import os
import re
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from django.db.models import Count, F, Sum
from numpy.typing import NDArray

from ingestion.models import ListeningHistory
from recommender.engine.algorithms.base import expand_ranges
from recommender.engine.algorithms.engines import EngineUnavailable, WantedPlays
from recommender.engine.data import Interactions
from recommender.engine.song_columns import find_columns
from recommender.models import sql
from recommender.spark.exported_files import MANIFEST, SESSIONS
from recommender.training.dataset import build_interactions

IDS_PER_FILE: Final = 100_000  # sessions take less than a second and 10 MB to write again
FETCH_SIZE: Final = 5_000
FILE_NAME: Final = re.compile(r"\.?\d{12}(\.parquet)?")  # those that begin with a dot are unfinished
SCHEMA: Final = pa.schema(
    [("id", pa.int64()), ("listener", pa.int64()), ("at", pa.float64()), ("songs", pa.list_(pa.int64()))]
)


@dataclass(frozen=True)
class SessionExport:
    folder: Path
    names: tuple[str, ...]  # of the export's files; anything else in the folder is no part of it
    plays: int  # in all sessions

    def files(self) -> list[Path]:
        """The files in the order of the sessions' ids."""
        return [self.folder / name for name in self.names]


def export_sessions(export_dir: Path) -> SessionExport:
    """Bring the files up to date with the database.

    Raises:
        EngineUnavailable: the folder can't be written.
    """
    folder, manifest = export_dir / SESSIONS, export_dir / MANIFEST
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written = json.loads(manifest.read_text()) if manifest.exists() else {}
        states = _read_states()
        _delete_other_files(folder, states.keys())
        same = {name: state for name, state in states.items() if written.get(name) == state}
        # If this process is killed, the manifest says nothing of files that it was about to write.
        _replace(manifest, json.dumps(same).encode())
        for name in states:
            if name not in same or not (folder / name).exists():
                _write_file(folder / name)
        _replace(manifest, json.dumps(states).encode())
    except (OSError, ValueError) as error:
        raise EngineUnavailable(
            f"Sessions can't be exported to EXPORT_DIR ({export_dir}): {error}. Make it a folder that this "
            "machine may write and all Spark workers read, and delete what is in it if that is damaged."
        ) from error
    return SessionExport(folder, tuple(sorted(states)), sum(state[-1] for state in states.values()))


def _delete_other_files(folder: Path, names: Collection[str]) -> None:
    """Delete what an earlier export left, also one that was killed or whose manifest was lost."""
    for file in folder.iterdir():
        if FILE_NAME.fullmatch(file.name) and file.name not in names:
            file.unlink(missing_ok=True)


def read_plays(export: SessionExport, wanted: WantedPlays) -> Interactions:
    """The plays of the wanted listeners, in the order of the sessions' ids."""
    until = np.inf if wanted.until is None else wanted.until.timestamp()
    parts = [_read_file(file, wanted.listener_ids, until) for file in export.files()]
    listeners, songs, at = (
        (
            np.concatenate([np.empty(0, kind), *columns])
            for kind, columns in zip((np.int64, np.int64, np.float64), zip(*parts, strict=True), strict=True)
        )
        if parts
        else (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    )
    count = np.ones(len(songs), dtype=np.float32)
    return build_interactions(wanted.listener_ids, wanted.song_ids, listeners, songs, at, count)


def _read_file(
    file: Path, listener_ids: NDArray[np.int64], until: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    table = pq.read_table(file).combine_chunks()
    listeners, at = table["listener"].to_numpy(), table["at"].to_numpy()
    sessions = table["songs"].combine_chunks()
    starts, songs = sessions.offsets.to_numpy().astype(np.int64), sessions.values.to_numpy()
    kept = np.flatnonzero(find_columns(listener_ids, listeners)[1] & (at <= until))
    sizes = np.diff(starts)[kept]
    places = expand_ranges(starts[kept], sizes)
    return np.repeat(listeners[kept], sizes), songs[places], np.repeat(at[kept], sizes)


def _read_states() -> dict[str, list[Any]]:
    """Each file's state, which changes whenever its sessions do; it ends with their number of plays."""
    rows = (
        ListeningHistory.objects.filter(unavailable_at=None)
        .order_by()
        .annotate(file=F("pk") / IDS_PER_FILE)
        .values_list("file")
        .annotate(
            n=Count("pk"),
            digest=sql.rows_digest("pk", "user_id", "created_at", "items"),
            plays=Sum(sql.json_array_length("items")),
        )
        .order_by("file")
    )
    return {_file_name(number): [n, str(digest), int(plays or 0)] for number, n, digest, plays in rows}


def _file_name(number: int) -> str:
    return f"{number:012d}.parquet"


def _write_file(path: Path) -> None:
    first = int(path.stem) * IDS_PER_FILE
    rows = ListeningHistory.objects.filter(
        unavailable_at=None, pk__gte=first, pk__lt=first + IDS_PER_FILE
    ).order_by("pk")
    values = rows.values_list("pk", "user_id", "created_at", "items").iterator(chunk_size=FETCH_SIZE)
    unfinished = path.with_name(f".{path.stem}")
    with pq.ParquetWriter(unfinished, SCHEMA, compression="zstd") as writer:
        for batch in _batches(values):
            writer.write_batch(batch)
    unfinished.replace(path)


def _batches(values: Iterator[tuple[Any, ...]]) -> Iterator[pa.RecordBatch]:
    while chunk := list(islice(values, FETCH_SIZE)):
        ids, listeners, times, songs = zip(*chunk, strict=True)
        columns = [ids, listeners, [at.timestamp() for at in times], songs]
        arrays = [pa.array(column, kind) for column, kind in zip(columns, SCHEMA.types, strict=True)]
        yield pa.record_batch(arrays, schema=SCHEMA)


def _replace(path: Path, content: bytes) -> None:
    handle, unfinished = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    Path(unfinished).replace(path)
