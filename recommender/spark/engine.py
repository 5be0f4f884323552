"""The Spark engine: plays from Parquet files, neighbours and candidate lists from Spark's workers."""

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f
from scipy.sparse import csr_array

from recommender.engine.algorithms.engines import EngineUnavailable, Kernel, WantedPlays
from recommender.engine.algorithms.item_similarity import MOST_SONGS_PER_LISTENER, stack_rows
from recommender.engine.algorithms.neighbours import NeighbourBlock, SongCounts
from recommender.engine.data import Interactions
from recommender.engine.evaluation.splitting import plays_of_new_songs
from recommender.engine.parallel import Submit
from recommender.spark.export import SessionExport, export_sessions, read_plays
from recommender.spark.kernels import (
    HISTORIES,
    NEIGHBOURS,
    CopyToBlocks,
    FindNeighbours,
    read_block,
)
from recommender.spark.session import describe_failure, start_spark

logger = logging.getLogger(__name__)

NEIGHBOURS_FOLDER: Final = "neighbours"
# Plays that the training process keeps for SVD, tuning and evaluation: 50 bytes each. With a sample of more,
# the neighbours' listeners, who are all, would disagree with the counts of listeners.
MOST_LOCAL_PLAYS: Final = 100_000_000
# Batches of ids that every processor computes before their rows are stored.
BATCHES_PER_WAVE: Final = 4
ROWS: Final = "ids array<long>, rows array<binary>"
ROWS_SCHEMA: Final = pa.schema([("ids", pa.list_(pa.int64())), ("rows", pa.list_(pa.binary()))])


@contextmanager
def open_spark_engine(master: str, export_dir: Path) -> "Iterator[SparkEngine]":
    """Yield an engine that computes on this master.

    Raises:
        EngineUnavailable: Spark can't start or fails, or the folder can't be written.
    """
    with start_spark(master) as session:
        logger.info("spark_started master=%s application=%s", master, session.sparkContext.applicationId)
        try:
            yield SparkEngine(session, export_dir)
        except (PySparkException, Py4JError) as error:
            raise EngineUnavailable(
                f"Spark failed on {master}: {describe_failure(error)}. Check in Spark's logs that the "
                "master and all workers run, have enough memory and see EXPORT_DIR, and start again."
            ) from error


class SparkEngine:
    """Implements `Engine`; `plays` must be called before neighbours are computed."""

    def __init__(
        self, session: SparkSession, export_dir: Path, most_local_plays: int = MOST_LOCAL_PLAYS
    ) -> None:
        self._session = session
        self._export_dir = export_dir
        self._most_local_plays = most_local_plays
        self._export: SessionExport | None = None
        self._wanted: WantedPlays | None = None
        self._sessions: Interactions | None = None
        self._cached: list[DataFrame] = []

    def plays(self, wanted: WantedPlays) -> Interactions:
        """Export the sessions, and read those of the listeners.

        Raises:
            EngineUnavailable: there are too many plays, or the folder can't be written.
        """
        self._wanted = wanted
        self._export = export_sessions(self._export_dir)
        if self._export.plays > self._most_local_plays:
            raise EngineUnavailable(
                f"The engine spark trains on at most {self._most_local_plays:,} plays; there are "
                f"{self._export.plays:,}. Choose the engine local, on a machine with enough memory."
            )
        self._sessions = read_plays(self._export, wanted)
        logger.info("plays_exported plays=%s listeners=%s", self._export.plays, len(wanted.listener_ids))
        return self._sessions

    def by_listener(self, plays: csr_array) -> DataFrame:
        """Each listener's songs, ascending, from all exported sessions and the feedback in `plays`."""
        assert self._wanted is not None and self._export is not None  # noqa: S101, PT018
        pairs = self._feedback_pairs(plays)
        if self._export.files():
            pairs = self._session_pairs(self._export, self._wanted).union(pairs)
        # As `limit_songs` does for plays without counts, only a listener's first songs count.
        songs = f.slice(f.sort_array(f.collect_set("song")), 1, MOST_SONGS_PER_LISTENER)
        histories = pairs.groupBy("listener").agg(songs.alias("songs")).persist()
        self._cached.append(histories)
        return histories

    def counts(self, histories: DataFrame) -> SongCounts:
        assert self._wanted is not None  # noqa: S101
        each = histories.select(f.explode("songs").alias("song"), f.size("songs").alias("width"))
        sums = each.groupBy("song").agg(f.count("*").alias("listeners"), f.sum("width").alias("cost"))
        table = sums.toArrow()
        songs, n_songs = table["song"].to_numpy(), len(self._wanted.song_ids)
        listeners, costs = np.zeros(n_songs, dtype=np.int32), np.zeros(n_songs, dtype=np.int64)
        listeners[songs], costs[songs] = table["listeners"].to_numpy(), table["cost"].to_numpy()
        return SongCounts(listeners, costs)

    def by_block(
        self, histories: DataFrame, counts: SongCounts, submit: Submit
    ) -> Callable[[], NeighbourBlock]:
        """Start Spark's job; its result is read from Parquet files in the export folder."""
        folder = self._export_dir / NEIGHBOURS_FOLDER
        ranges = counts.blocks()
        starts = np.array([start for start, _ in ranges], dtype=np.int32)
        find = FindNeighbours(ranges, counts.listeners.astype(np.float32))

        # Spark accepts functions only, no other callable objects.
        def find_in_block(key: tuple[pa.Scalar, ...], table: pa.Table) -> pa.Table:
            return find(key, table)

        found = (
            histories.mapInArrow(CopyToBlocks(starts), HISTORIES)
            .groupBy("block")
            .applyInArrow(find_in_block, NEIGHBOURS)
        )
        # A thread of its own, because it waits for the cluster while the others compute.
        thread = ThreadPoolExecutor(1, "spark")
        done: Future[None] = thread.submit(found.write.mode("overwrite").parquet, str(folder))
        thread.shutdown(wait=False)

        def result() -> NeighbourBlock:
            done.result()
            return read_neighbours(folder, ranges, counts)

        return result

    def map_rows(
        self, kernel: Kernel, ids: Sequence[int], size: int
    ) -> Iterator[tuple[Sequence[int], list[Any]]]:
        """As `Engine` says; the kernel must return bytes, and be importable by the workers."""
        wave = size * BATCHES_PER_WAVE * self._session.sparkContext.defaultParallelism
        waves = _split(ids, wave)
        # One further wave is computed while the rows of one are stored.
        with ThreadPoolExecutor(1, "spark") as thread:
            pending: list[Future[pa.Table]] = []
            for chosen in [*waves, None]:
                if chosen is not None:
                    pending.append(thread.submit(self._map_wave, kernel, chosen, size))
                if pending and (chosen is None or len(pending) > 1):
                    for row in pending.pop(0).result().to_pylist():
                        yield row["ids"], row["rows"]

    def release(self) -> None:
        while self._cached:
            self._cached.pop().unpersist()
        shutil.rmtree(self._export_dir / NEIGHBOURS_FOLDER, ignore_errors=True)

    def _map_wave(self, kernel: Kernel, ids: Sequence[int], size: int) -> pa.Table:
        batches = _split(ids, size)

        def run(parts: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for part in parts:
                for chosen in part.column("ids").to_pylist():
                    yield pa.record_batch([[chosen], [kernel(chosen)]], schema=ROWS_SCHEMA)

        table = pa.table({"ids": pa.array(batches, pa.list_(pa.int64()))})
        frame = self._session.createDataFrame(table).repartition(len(batches))
        return frame.mapInArrow(run, ROWS).toArrow()

    def _places(self, place: str, key: str, ids: NDArray[np.int64]) -> DataFrame:
        places = np.arange(len(ids), dtype=np.int32)
        return self._session.createDataFrame(pa.table({key: ids, place: places}))

    def _session_pairs(self, export: SessionExport, wanted: WantedPlays) -> DataFrame:
        sessions = self._session.read.parquet(*map(str, export.files()))
        if wanted.until is not None:
            sessions = sessions.filter(f.col("at") <= wanted.until.timestamp())
        return (
            sessions.select(f.col("listener").alias("id"), f.explode("songs").alias("song_id"))
            .join(f.broadcast(self._places("listener", "id", wanted.listener_ids)), "id")
            .join(f.broadcast(self._places("song", "song_id", wanted.song_ids)), "song_id")
            .select("listener", "song")
        )

    def _feedback_pairs(self, plays: csr_array) -> DataFrame:
        """The pairs of listener and song in `plays` that are in no session, which are feedback."""
        assert self._sessions is not None  # noqa: S101
        extra = plays_of_new_songs(plays, self._sessions.matrix()).tocoo()
        listeners, songs = (places.astype(np.int32) for places in extra.coords)
        return self._session.createDataFrame(pa.table({"listener": listeners, "song": songs}))


def _split(ids: Sequence[int], size: int) -> list[list[int]]:
    return [list(ids[start : start + size]) for start in range(0, len(ids), size)]


def read_neighbours(folder: Path, ranges: list[tuple[int, int]], counts: SongCounts) -> NeighbourBlock:
    """The neighbours that Spark's workers wrote.

    Raises:
        EngineUnavailable: those of a block of songs are missing.
    """
    n_songs = len(counts.listeners)
    empty = {
        block: csr_array((stop - start, n_songs), dtype=np.float32)
        for block, (start, stop) in enumerate(ranges)
    }
    rp3, knn = dict(empty), dict(empty)
    missing = {
        block for block, (start, stop) in enumerate(ranges) if counts.multiplications[start:stop].any()
    }
    for file in sorted(folder.glob("*.parquet")):
        for batch in pq.ParquetFile(file).iter_batches(batch_size=1):
            for row in batch.to_pylist():
                rp3[row["block"]], knn[row["block"]] = read_block(row, n_songs)
                missing.discard(row["block"])
    if missing:
        raise EngineUnavailable(
            f"Spark's workers left no neighbours in {folder} for {len(missing)} of {len(ranges)} blocks of "
            "songs. Make EXPORT_DIR a folder that this machine and all workers see at the same path."
        )
    blocks = list(rp3.values()), list(knn.values())
    rp3.clear()
    knn.clear()
    return NeighbourBlock(*(stack_rows(part, n_songs) for part in blocks))
