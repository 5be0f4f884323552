"""Backups of all tables and model files, with hashes, which either database engine can restore."""

import gzip
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from hashlib import file_digest, sha256
from itertools import islice
from operator import itemgetter
from pathlib import Path, PurePosixPath
from typing import Any, Final

from django.apps import apps
from django.contrib.auth.models import Permission, User
from django.core.management.color import no_style
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import Model
from psycopg import IsolationLevel

from ingestion.english import english_plural
from ingestion.models import IngestionRun, Listener, Song
from recommender.engine import artifact
from recommender.models import ModelVersion
from recommender.registry import artifact_storage, shared_storage

logger = logging.getLogger(__name__)

MANIFEST: Final = "manifest.json"
TABLES: Final = "tables"
MODELS: Final = "models"
FORMAT: Final = 1
BATCH: Final = 1_000
# A connection of its own, whose transaction sees one state of the database while others write.
SNAPSHOT_ALIAS: Final = "snapshot"
MAX_VALUES: Final = 30_000
UNFINISHED: Final = ".{}.unfinished"
# No backup takes so long: its process was killed.
ABANDONED_AFTER: Final = 86_400  # seconds
# Made again by `migrate`, with other numbers; users and groups name permissions by their names.
LEFT_OUT: Final = {"contenttypes.contenttype", "auth.permission", "sessions.session", "admin.logentry"}


class BackupDamaged(ValueError):
    """A file of the backup is missing or differs from its hash, or a restored table differs from it."""


class NotEmpty(ValueError):
    """The database to restore into has rows."""


# Called with the stage, its rows since the last call and all its rows.
Progress = Callable[[str, int, int], object]
OnRows = Callable[[int], object]


def _ignore(_stage: str, _done: int, _total: int) -> None:
    """The progress of a periodic task, which nobody watches."""


@dataclass(frozen=True)
class BackupResult:
    folder: Path
    rows: int
    files: int
    bytes: int
    # Versions whose files are damaged or missing, and therefore not in the backup, with the reasons.
    damaged: dict[str, str]


def make_backup(folder: Path, storage: Path, now: datetime, progress: Progress = _ignore) -> BackupResult:
    """Write a backup into a new folder below `folder`, while the service runs; it appears when complete."""
    name = f"{now.astimezone(UTC):%Y%m%dT%H%M%S}Z"
    target, unfinished = folder / name, folder / UNFINISHED.format(name)
    (unfinished / TABLES).mkdir(parents=True)
    try:
        with _snapshot() as alias:
            total = (
                0
                if progress is _ignore
                else sum(model._default_manager.using(alias).count() for model in _models())
            )
            on_rows = partial(_report, progress, "backup", total)
            tables = {
                model._meta.label_lower: _dump(model, alias, unfinished, on_rows) for model in _models()
            }
            migrations = _migrations(alias)
            versions = set(ModelVersion.objects.using(alias).values_list("label", flat=True))
        # After the tables: artifacts are written before their version's row, and never changed.
        files, damaged = _copy_models(storage, unfinished / MODELS, versions)
        manifest = {
            "format": FORMAT, "made_at": now.isoformat(), "migrations": migrations, "tables": tables,
            "files": files, "damaged": damaged,
        }  # fmt: skip
        (unfinished / MANIFEST).write_text(json.dumps(manifest, indent=1))
        _sync(unfinished)
        unfinished.rename(target)
    finally:
        # What a full disk interrupts must not keep it full.
        shutil.rmtree(unfinished, ignore_errors=True)
    size = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    rows = sum(table["rows"] for table in tables.values())
    logger.info("backup_made folder=%s rows=%s files=%s bytes=%s", target, rows, len(files), size)
    return BackupResult(target, rows, len(files), size, damaged)


def verify_backup(folder: Path) -> dict[str, Any]:
    """The manifest, after every file was compared with its hash.

    Raises:
        BackupDamaged: a file is missing or differs.
    """
    try:
        manifest = _read_manifest(folder)
    except (OSError, ValueError) as error:
        raise BackupDamaged(f"{folder} is not a complete backup: {error}") from None
    if manifest.get("format") != FORMAT:
        raise BackupDamaged(f"{folder} has the format {manifest.get('format')}, and not {FORMAT}.")
    if missing := {"tables", "files", "migrations"} - set(manifest):
        raise BackupDamaged(f"The manifest of {folder} lacks {', '.join(sorted(missing))}.")
    # A manifest made by somebody else must not write outside the folder of models.
    for name in manifest["files"]:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise BackupDamaged(f"The manifest names {name}, which is outside the backup.")
    for label, table in manifest["tables"].items():
        _require_hash(folder / TABLES / f"{label}.jsonl.gz", table["file_sha256"])
    for name, digest in manifest["files"].items():
        _require_hash(folder / MODELS / name, digest)
    return manifest


def restore_backup(folder: Path, storage: Path, progress: Progress = _ignore) -> BackupResult:
    """Load a backup into an empty, migrated database and an empty folder of models, and compare the result.

    Raises:
        BackupDamaged: a file differs from its hash, or a table from the one that was backed up.
        NotEmpty: the database has rows, or the storage has models.
        ArtifactExists: another database stored a version in the shared storage meanwhile.
    """
    manifest = verify_backup(folder)
    _require_same_migrations(manifest)
    _require_empty(storage)
    # What is left are copies, which belong to another database's versions.
    _remove_content(storage)
    uploaded: list[str] = []
    try:
        # Before the tables: without the disk space for its models, a database stays empty.
        for name in manifest["files"]:
            (storage / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / MODELS / name, storage / name)
        for label in sorted({PurePosixPath(name).parts[0] for name in manifest["files"]}):
            if (storage / label / artifact.MANIFEST).is_file():
                uploaded.append(label)
                artifact_storage.upload(storage / label)
        _restore_tables(folder, manifest, progress)
    except BaseException as error:
        if isinstance(error, artifact.ArtifactExists):
            uploaded.pop()  # somebody else's since the prefix was found empty
        with suppress(artifact.ArtifactUnavailable):
            for label in uploaded:
                artifact_storage.delete_shared(label)
        _remove_content(storage)
        raise
    rows = sum(table["rows"] for table in manifest["tables"].values())
    logger.info("backup_restored folder=%s rows=%s files=%s", folder, rows, len(manifest["files"]))
    return BackupResult(folder, rows, len(manifest["files"]), 0, {})


def _report(progress: Progress, stage: str, total: int, done: int) -> None:
    progress(stage, done, total)


def _restore_tables(folder: Path, manifest: dict[str, Any], progress: Progress) -> None:
    total = sum(table["rows"] for table in manifest["tables"].values())
    on_load = partial(_report, progress, "restore", total)
    with transaction.atomic():
        for model in _models():
            # Groups that the migrations made, which the backup has too.
            model._default_manager.all()._raw_delete(DEFAULT_DB_ALIAS)  # noqa: SLF001
        for model in _models():
            _load(model, folder / TABLES / f"{model._meta.label_lower}.jsonl.gz", on_load)
        _reset_sequences()
        _compare(manifest, partial(_report, progress, "compare", total))


def _remove_content(storage: Path) -> None:
    """Remove the models of a failed restore, or a machine's copies, from the folder."""
    for path in storage.iterdir() if storage.is_dir() else ():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def newest_backup(folder: Path) -> datetime | None:
    """When the newest complete backup was made; its hashes are not compared."""
    return max((made_at for made_at, _ in _read_backups(folder)), default=None)


def damaged_in_newest_backup(folder: Path) -> dict[str, str]:
    """Versions whose files were too damaged for the newest backup, with the reasons."""
    found = _read_backups(folder)
    return max(found, key=itemgetter(0))[1] if found else {}


def _read_backups(folder: Path) -> list[tuple[datetime, dict[str, str]]]:
    found = []
    for path in folder.glob(f"[!.]*/{MANIFEST}"):
        try:
            manifest = _read_manifest(path.parent)
            # An aware time, whatever the manifest says.
            made_at = datetime.fromisoformat(manifest["made_at"]).astimezone(UTC)
            found.append((made_at, dict(manifest.get("damaged", {}))))
        except (OSError, ValueError, TypeError, KeyError):
            logger.warning("backup_not_readable folder=%s", path.parent)
    return found


def delete_old_backups(folder: Path, keep: int) -> list[Path]:
    """Delete all but the newest backups, and what interrupted ones have left."""
    complete = sorted(manifest.parent for manifest in folder.glob(f"[!.]*/{MANIFEST}"))
    abandoned = [
        path for path in folder.glob(UNFINISHED.format("*"))
        if time.time() - path.stat().st_mtime > ABANDONED_AFTER
    ]  # fmt: skip
    old = [*(complete[:-keep] if keep else []), *abandoned]
    for path in old:
        shutil.rmtree(path)
    return old


def _read_manifest(folder: Path) -> dict[str, Any]:
    manifest = json.loads((folder / MANIFEST).read_text())
    if not isinstance(manifest, dict):
        raise ValueError("The manifest is no JSON object.")  # noqa: TRY004
    return manifest


def _models() -> list[type[Model]]:
    """All tables with data of their own, also those that join users, groups and permissions."""
    return [
        model
        for model in apps.get_models(include_auto_created=True)
        if model._meta.managed and not model._meta.proxy and model._meta.label_lower not in LEFT_OUT
    ]


@contextmanager
def _snapshot() -> Iterator[str]:
    """A connection whose transaction sees one state of the database, and blocks no other process."""
    settings = connections[DEFAULT_DB_ALIAS].settings_dict
    options = dict(settings["OPTIONS"])
    if connections[DEFAULT_DB_ALIAS].vendor == "postgresql":
        options["isolation_level"] = IsolationLevel.REPEATABLE_READ
    else:
        options["transaction_mode"] = "DEFERRED"
    connections.settings[SNAPSHOT_ALIAS] = {**settings, "OPTIONS": options}
    try:
        with transaction.atomic(using=SNAPSHOT_ALIAS):
            yield SNAPSHOT_ALIAS
    finally:
        connections[SNAPSHOT_ALIAS].close()
        del connections[SNAPSHOT_ALIAS]


def _dump(model: type[Model], alias: str, folder: Path, on_rows: OnRows) -> dict[str, Any]:
    path = folder / TABLES / f"{model._meta.label_lower}.jsonl.gz"
    with path.open("wb") as file, gzip.GzipFile("", "wb", 6, file, mtime=0) as packed:
        rows, digest = _write_rows(model, alias, packed.write, on_rows)
    return {"rows": rows, "sha256": digest, "file_sha256": _hash(path)}


def _write_rows(
    model: type[Model], alias: str, write: Callable[[bytes], object], on_rows: OnRows
) -> tuple[int, str]:
    """Write each row as a line, by primary key; returns the number of rows and the hash of all lines."""
    fields, digest, count = model._meta.concrete_fields, sha256(), 0
    permissions = {one.pk: list(one.natural_key()) for one in _permissions(alias)}
    for row in model._default_manager.using(alias).order_by("pk").iterator(chunk_size=BATCH):
        values = {field.attname: _encode(field, row, permissions) for field in fields}
        # Sorted keys: PostgreSQL stores the keys of JSON columns in an order of its own.
        line = json.dumps(values, sort_keys=True, separators=(",", ":")).encode() + b"\n"
        digest.update(line)
        write(line)
        count += 1
        if count % BATCH == 0:
            on_rows(BATCH)
    on_rows(count % BATCH)
    return count, digest.hexdigest()


def _encode(field: Any, row: Model, permissions: dict[int, list[str]]) -> Any:
    value = getattr(row, field.attname)
    if value is None:
        return None
    if field.related_model is Permission:
        return permissions[value]
    return field.value_to_string(row)


def _load(model: type[Model], path: Path, on_rows: OnRows) -> None:
    fields = model._meta.concrete_fields
    table: Any = model._default_manager.get_queryset()
    permissions = {tuple(one.natural_key()): one.pk for one in _permissions(DEFAULT_DB_ALIAS)}
    with gzip.open(path, "rt", encoding="utf-8") as file:
        # SQLite takes 32 766 values in a statement.
        while lines := list(islice(file, min(BATCH, MAX_VALUES // len(fields)))):
            rows = [_decode(model, json.loads(line), permissions) for line in lines]
            # Raw: otherwise columns that note the time of an insert would get the time of the restore.
            table._insert(  # noqa: SLF001
                rows, fields=fields, using=DEFAULT_DB_ALIAS, raw=True
            )
            on_rows(len(rows))


def _decode(model: type[Model], values: dict[str, Any], permissions: dict[tuple[str, ...], int]) -> Model:
    row = model()
    for field in model._meta.concrete_fields:
        value: Any = values[field.attname]
        if value is not None:
            is_permission = field.related_model is Permission
            value = permissions[tuple(value)] if is_permission else field.to_python(value)
        setattr(row, field.attname, value)
    return row


def _permissions(alias: str) -> Iterable[Permission]:
    return Permission.objects.using(alias).select_related("content_type")


def _migrations(alias: str) -> list[str]:
    """The migrations that were applied, which decide the columns.

    Without squashed ones: a database gets them with the ones that they replace, or with the next `migrate`.
    """
    recorder = MigrationRecorder(connections[alias])
    return sorted(f"{app}.{name}" for app, name in recorder.applied_migrations() if "_squashed_" not in name)


def _require_same_migrations(manifest: dict[str, Any]) -> None:
    here, there = set(_migrations(DEFAULT_DB_ALIAS)), set(manifest["migrations"])
    if here != there:
        names = ", ".join(sorted(here ^ there)[:5])
        raise BackupDamaged(
            f"The backup was made with other migrations ({names}). Restore it with the release that made it, "
            "then upgrade."
        )


def _require_empty(storage: Path) -> None:
    used = [
        english_plural(model) for model in (Song, Listener, IngestionRun, ModelVersion, User)
        if model._default_manager.exists()
    ]  # fmt: skip
    if used:
        raise NotEmpty(f"The database has {', '.join(used)}. Restore into a new, migrated one.")
    shared = shared_storage.shared_storage()
    if shared is None:
        if storage.is_dir() and any(storage.iterdir()):
            raise NotEmpty(f"{storage} has models. Restore into an empty folder.")
    elif found := sorted(artifact_storage.labels(storage)):
        raise NotEmpty(
            f"{shared} has models ({', '.join(found[:3])}). Restore into an empty prefix: name a new one in "
            "MODEL_STORAGE, or delete these objects."
        )


def _compare(manifest: dict[str, Any], on_rows: OnRows) -> None:
    for model in _models():
        rows, digest = _write_rows(model, DEFAULT_DB_ALIAS, lambda line: None, on_rows)
        expected = manifest["tables"][model._meta.label_lower]
        if (rows, digest) != (expected["rows"], expected["sha256"]):
            raise BackupDamaged(
                f"{model._meta.label_lower} has {rows} rows, and the backup {expected['rows']}, or their "
                "content differs. Nothing was restored."
            )


def _reset_sequences() -> None:
    connection = connections[DEFAULT_DB_ALIAS]
    with connection.cursor() as cursor:
        for statement in connection.ops.sequence_reset_sql(no_style(), _models()):
            cursor.execute(statement)


def _copy_models(
    storage: Path, target: Path, versions: Collection[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Copy the models' files.

    Args:
        versions: labels of those in the backup's tables, whose files must be there. A version that is trained
            meanwhile may have none yet.

    Returns:
        Their hashes by relative name; versions that are left out because files are missing or damaged, and
        why. A restored version must be able to serve, or be known to lack files.
    """
    shared = shared_storage.shared_storage()
    reasons: dict[str, str] = {}
    if shared is None:
        found = _copy_folder(storage, target)
    else:
        found = artifact_storage.labels(storage)
        for label in sorted(found):
            try:
                artifact_storage.copy_files(label, storage, target / label)
            except artifact.ArtifactDamaged as error:
                reasons[label] = str(error)
    damaged = {}
    # Read after the files were: those of an old version may be deleted meanwhile.
    for version in ModelVersion.objects.filter(label__in={*found, *versions}):
        if version.files_deleted_at is not None:
            shutil.rmtree(target / version.label, ignore_errors=True)
            continue
        try:
            artifact.verify_files(target / version.label, version.artifact_sha256)
        except artifact.ArtifactError as error:
            reason = str(error).replace(f"{target}/", f"{shared or storage}/")
            damaged[version.label] = reasons.get(version.label, reason)
            shutil.rmtree(target / version.label, ignore_errors=True)
            logger.error(  # noqa: TRY400  (the reason names the file)
                "version_not_backed_up version=%s reason=%r", version.label, damaged[version.label]
            )
    copies = sorted(path for path in target.rglob("*") if path.is_file())
    return {copy.relative_to(target).as_posix(): _hash(copy) for copy in copies}, damaged


def _copy_folder(storage: Path, target: Path) -> set[str]:
    """Copy all files of the folder; returns the names of its folders."""
    for file in sorted(path for path in storage.rglob("*") if path.is_file()):
        name = file.relative_to(storage).as_posix()
        if name.startswith("."):
            continue
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(file, copy)
        except FileNotFoundError:  # the files of an old version were deleted meanwhile
            copy.unlink(missing_ok=True)
    return {path.name for path in storage.glob("*/")}


def _hash(file: Path) -> str:
    with file.open("rb") as opened:
        return file_digest(opened, "sha256").hexdigest()


def _require_hash(file: Path, expected: str) -> None:
    if not file.is_file():
        raise BackupDamaged(f"{file} is missing.")
    if _hash(file) != expected:
        raise BackupDamaged(f"{file} differs from its hash in the manifest.")


def _sync(folder: Path) -> None:
    """Let the files reach the disk, so that a backup that appears is complete after a power cut too."""
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
