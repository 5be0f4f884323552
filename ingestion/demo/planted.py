"""A world to which things happen from outside: a feature that breaks, a restart with another catalogue."""

from datetime import date

from ingestion.demo.source import TRACKS, Row, Snapshot
from ingestion.demo.world import World


class PlantedSource:
    """The world as it is served while something is planted; with nothing planted, the world's own rows."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._stranger: World | None = None
        self._broken: dict[str, float | None] = {}
        self._since = ""
        self._planted = 0
        self._seen: Snapshot | None = None

    def snapshot(self) -> Snapshot:
        """The rows as they are served now."""
        base = (self._stranger or self._world).snapshot()
        if not self._broken:
            return Snapshot((base.version, self._planted), base.tables)
        version = (base.version, self._planted)
        if self._seen is None or self._seen.version != version:
            songs = [self._broken_row(row) for row in base.tables[TRACKS]]
            self._seen = Snapshot(version, {**base.tables, TRACKS: songs})
        return self._seen

    def new_catalogue(self) -> None:
        """Serve other songs and listeners under the known ids, until `come_back`."""
        world = self._world
        self._stranger = World.up_to(
            world.today, seed=world.seed, songs=len(world.rows("tracks")), listeners=len(world.rows("users")),
            days=1, calm=True,
        )  # fmt: skip
        self._stranger.new_catalogue()
        self._planted += 1

    def come_back(self) -> None:
        """Serve the known catalogue again."""
        self._stranger = None
        self._planted += 1

    def break_feature(self, feature: str, value: float | None, since: date) -> None:
        """From this day on, new and changed songs have this value in the feature."""
        self._broken[feature] = value
        self._since = stamp_of(since)
        self._planted += 1

    def mend_features(self) -> None:
        """What was sent wrong is sent right again."""
        self._broken = {}
        self._planted += 1

    def _broken_row(self, row: Row) -> Row:
        if max(row["created_at"], row["updated_at"]) < self._since or row["audio_features"] is None:
            return row
        return {**row, "audio_features": {**row["audio_features"], **self._broken}}


def stamp_of(day: date) -> str:
    """A day's first moment, as the source writes it."""
    return f"{day.isoformat()}T00:00:00.000000"
