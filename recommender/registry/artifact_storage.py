"""Reads, writes and deletes versions' artifacts: in a folder, or also in a storage that machines share.

The shared one is Django's storage "models", such as a bucket on S3. Then the folder holds
copies of this machine, because a model is memory-mapped. Without it, the folder is everything there is.
An artifact is complete in the shared storage if its manifest is there, which is uploaded last.
"""

import errno
import fcntl
import json
import logging
import math
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, Final

from django.core.files import File
from django.core.files.base import ContentFile
from django.core.files.storage import Storage
from django.db import DatabaseError
from django.db.models import Q
from numpy.typing import NDArray

from recommender.engine import artifact
from recommender.engine.artifact import (
    MANIFEST,
    ArtifactDamaged,
    ArtifactError,
    ArtifactExists,
    ArtifactMissing,
    ArtifactUnavailable,
)
from recommender.models import Experiment, ModelVersion
from recommender.registry import registry
from recommender.registry.shared_storage import (
    ObjectMissing,
    RequestRefused,
    SpeedLimit,
    read_chunks,
    save,
    shared_storage,
    translated_errors,
)

logger = logging.getLogger(__name__)

# Names the training that uploads an artifact. It is uploaded first and deleted last, so that the next
# training can remove what a killed one left.
SIGNATURE: Final = "training"
DOWNLOAD_PREFIX: Final = ".download-"
DAMAGED_PREFIX: Final = f"{DOWNLOAD_PREFIX}damaged-"
# Below it, another process may be about to open a copy.
MIN_UNUSED_SECONDS: Final = 86_400
CHUNK: Final = 2**20  # bytes
# Of a file whose connection breaks during a download; the client itself repeats only requests without answer.
MAX_FILE_ATTEMPTS: Final = 3

Arrays = dict[str, NDArray[Any]]


def fetch(version: ModelVersion, folder: Path) -> Path:
    """The path of the version's artifact in `folder`, which is downloaded if it is not there.

    Files that are there are not verified, and without a shared storage may be missing.

    Raises:
        ArtifactError: the shared artifact is missing, damaged or unavailable.
    """
    shared, path = shared_storage(), folder / version.label
    if shared is None:
        return path
    if version.files_deleted_at is not None:
        raise ArtifactMissing(f"The files of {version.label} were deleted.")
    if not (path / MANIFEST).is_file():
        _download(shared, version, path)
    else:
        with suppress(OSError):
            os.utime(path)  # see `delete_unused_copies`
    return path


def read(version: ModelVersion, folder: Path) -> tuple[Arrays, dict[str, Any]]:
    """The verified arrays as read-only memory maps, and the facts; raises as `fetch`.

    A damaged copy of a shared artifact is downloaded again.
    """
    path = fetch(version, folder)
    try:
        return artifact.read_arrays(path, version.artifact_sha256)
    except ArtifactError as error:
        _replace_damaged_copy(version, path, error)
    return artifact.read_arrays(path, version.artifact_sha256)


def verify(version: ModelVersion, folder: Path) -> None:
    """Verify the files here, and that other machines can download them; raises as `fetch`.

    While the shared storage is away, files that are here are enough, because a rollback must be possible.
    """
    path = fetch(version, folder)
    try:
        manifest = artifact.verify_files(path, version.artifact_sha256)
    except ArtifactError as error:
        _replace_damaged_copy(version, path, error)
        return
    shared = shared_storage()
    if shared is None:
        return
    try:
        _require_complete(shared, version, manifest)
    except ArtifactUnavailable as error:
        logger.warning("shared_artifact_not_verified version=%s reason=%r", version.label, str(error))


def write(path: Path, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, object]) -> str:
    """Write and upload an artifact; return its manifest's SHA-256.

    Raises:
        ArtifactExists: another process has written an artifact with this label.
        OSError: the disk is full, or the shared storage is away.
    """
    digest = artifact.write_arrays(path, arrays, facts)
    try:
        upload(path)
    except ArtifactExists:
        # The label belongs to somebody else: later downloads of it must not find these files.
        shutil.rmtree(path, ignore_errors=True)
        raise
    return digest


def upload(path: Path) -> None:
    """Upload an artifact to the shared storage, if there is one; raises `ArtifactError`."""
    shared = shared_storage()
    if shared is None:
        return
    manifest = json.loads((path / MANIFEST).read_bytes())
    signature = str(manifest["facts"].get("training", "")).encode()
    with translated_errors(shared):
        if shared.exists(f"{path.name}/{SIGNATURE}"):
            raise ArtifactExists(f"There is a model in {shared}/{path.name} already.")
        save(shared, f"{path.name}/{SIGNATURE}", ContentFile(signature))
        for name in (*manifest["files"], MANIFEST):
            with (path / name).open("rb") as file:
                save(shared, f"{path.name}/{name}", File(file))
    logger.info("artifact_uploaded version=%s files=%s", path.name, len(manifest["files"]))


def labels(folder: Path) -> set[str]:
    """Names of the artifacts in the shared storage, or in the folder without one; also of incomplete ones.

    Raises:
        ArtifactUnavailable: the shared storage is away.
    """
    shared = shared_storage()
    if shared is None:
        return {path.name for path in folder.iterdir() if path.is_dir()} if folder.is_dir() else set()
    with translated_errors(shared):
        return set(shared.listdir("")[0])


def training_signature(label: str) -> str | None:
    """Which training uploaded a shared artifact; None if that is unknown."""
    shared = shared_storage()
    if shared is None:
        return None
    try:
        return b"".join(read_chunks(shared, f"{label}/{SIGNATURE}")).decode()
    except (ObjectMissing, UnicodeDecodeError):
        return None


def delete(label: str, folder: Path) -> None:
    """Delete an artifact here and in the shared storage; may be repeated.

    Raises:
        ArtifactUnavailable: the shared storage is away; the copy here is deleted.
    """
    shutil.rmtree(folder / label, ignore_errors=True)
    delete_shared(label)


def delete_shared(label: str) -> None:
    """Delete an artifact in the shared storage, if there is one; raises as `delete`."""
    shared = shared_storage()
    if shared is None:
        return
    with translated_errors(shared):
        files = shared.listdir(label)[1]
        # Without its manifest an artifact is incomplete; the signature says whose the rest is.
        order = {MANIFEST: 0, SIGNATURE: 2}
        for name in sorted(files, key=lambda name: (order.get(name, 1), name)):
            shared.delete(f"{label}/{name}")


def delete_unused_copies(folder: Path) -> list[str]:
    """Delete copies of shared artifacts that this machine no longer needs; return their labels.

    It keeps those of the champion, its predecessor, challengers, versions in unfinished experiments and the
    newest version, and those that a process has opened in the last day.
    """
    if shared_storage() is None or not folder.is_dir():
        return []
    role, unfinished = ModelVersion.Role, Experiment.objects.exclude(status=Experiment.Status.ENDED)
    needed = ModelVersion.objects.filter(
        Q(role__in=(role.CHAMPION, role.CHALLENGER))
        | Q(pk__in=unfinished.values("challenger"))
        | Q(pk__in=unfinished.values("champion"))
    )
    kept = set(needed.values_list("label", flat=True))
    kept |= {version.label for version in registry.former_champions()[:1]}
    kept |= set(ModelVersion.objects.order_by("-pk").values_list("label", flat=True)[:1])
    known = set(ModelVersion.objects.values_list("label", flat=True))
    oldest = time.time() - MIN_UNUSED_SECONDS
    with _one_at_a_time(folder, wait=False) as is_alone:
        for left in folder.glob(f"{DOWNLOAD_PREFIX}*") if is_alone else ():
            if _modified_at(left) < oldest:
                shutil.rmtree(left, ignore_errors=True)  # nobody has continued this download
    # A folder that no version names may belong to another database, or to a training that is uploading it.
    unused = sorted(
        path.name for path in folder.iterdir()
        if path.name in known - kept and path.is_dir() and _modified_at(path) < oldest
    )  # fmt: skip
    for label in unused:
        # Processes that map its files keep them until they close them.
        shutil.rmtree(folder / label, ignore_errors=True)
        logger.info("unused_copy_deleted version=%s", label)
    return unused


def copy_files(label: str, folder: Path, target: Path) -> list[str]:
    """Copy a shared artifact into `target` and return file names.

    A file of the copy in `folder` spares its download if it has the checksum that the shared manifest
    names. Returns no names if the shared artifact has no manifest, or was deleted meanwhile.

    Raises:
        ArtifactDamaged: a file is missing that the manifest names.
        ArtifactUnavailable: the shared storage is away.
    """
    shared = shared_storage()
    if shared is None:
        raise ValueError("There is no shared storage.")
    limit = SpeedLimit(f"{shared}/{label}")
    with translated_errors(shared):
        names = sorted(set(shared.listdir(label)[1]) - {SIGNATURE})
    if MANIFEST not in names:
        return []
    target.mkdir(parents=True)
    name = MANIFEST
    try:
        _write_chunks(target / MANIFEST, read_chunks(shared, f"{label}/{MANIFEST}", limit))
        expected = _expected_files(target / MANIFEST)
        for name in sorted({*names, *expected} - {MANIFEST}):
            if not _copy_intact(folder / label / name, target / name, expected.get(name)):
                _write_chunks(target / name, read_chunks(shared, f"{label}/{name}", limit))
    except ObjectMissing:
        shutil.rmtree(target)
        with translated_errors(shared):
            # A deletion begins with the manifest.
            if shared.exists(f"{label}/{MANIFEST}"):
                raise ArtifactDamaged(f"{shared}/{label}/{name} is missing.") from None
        return []
    return names


def _expected_files(manifest: Path) -> dict[str, Any]:
    """Sizes and checksums by file name; empty if the manifest is damaged."""
    try:
        files = json.loads(manifest.read_bytes())["files"]
    except (ValueError, LookupError, TypeError):
        return {}
    return files if isinstance(files, dict) else {}


def _copy_intact(source: Path, target: Path, expected: object) -> bool:
    """Copy a file; returns whether the copy has the expected size and checksum."""
    try:
        with source.open("rb") as file:
            return _write_chunks(target, iter(partial(file.read, CHUNK), b"")) == expected
    except OSError:
        return False


def _replace_damaged_copy(version: ModelVersion, path: Path, error: ArtifactError) -> None:
    """Download a damaged copy again; raises `error` without a shared storage, else as `fetch`."""
    shared = shared_storage()
    if shared is None:
        raise error
    logger.warning("copy_damaged version=%s reason=%r", version.label, str(error))
    _download(shared, version, path)


def _download(shared: Storage, version: ModelVersion, path: Path) -> None:
    """Download an artifact; raises `ArtifactError`, also if this machine's disk is full or not writable."""
    try:
        _download_into_folder(shared, version, path)
    except ArtifactError:
        raise
    except OSError as error:
        raise ArtifactUnavailable(f"{path} can't be written: {error}") from None
    try:
        delete_unused_copies(path.parent)
    except (OSError, DatabaseError) as error:
        # The artifact is here, whatever happens to others.
        logger.warning("unused_copies_not_deleted reason=%r", str(error))


def _download_into_folder(shared: Storage, version: ModelVersion, path: Path) -> None:
    folder = path.parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Of this user: what a command of root left is closed to the web process.
    new = folder / f"{DOWNLOAD_PREFIX}{os.getuid()}-{version.label}"
    with _one_at_a_time(folder):
        _delete_damaged_copies(folder)
        if _is_intact(path, version.artifact_sha256):
            return  # another process has downloaded it meanwhile
        begun = time.perf_counter()
        # Private, but the web process may run as another user.
        new.mkdir(mode=0o700, exist_ok=True)
        os.utime(new)  # see `delete_unused_copies`: an attempt that only writes into a file leaves the time
        try:
            _download_files_and_make_room(shared, version, new)
            new.chmod(0o755)
            if path.exists():
                path.rename(folder / f"{DAMAGED_PREFIX}{time.time_ns()}-{version.label}")
            new.rename(path)
        except ArtifactUnavailable:
            raise  # The next attempt uses the files that are there.
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
        _delete_damaged_copies(folder)
    logger.info("artifact_downloaded version=%s seconds=%.1f", version.label, time.perf_counter() - begun)


def _delete_damaged_copies(folder: Path) -> None:
    """Delete copies that a download has replaced. Partial downloads stay for a day, if there is room."""
    for left in folder.glob(f"{DAMAGED_PREFIX}*"):
        shutil.rmtree(left, ignore_errors=True)


def _download_files_and_make_room(shared: Storage, version: ModelVersion, target: Path) -> None:
    """As `_download_files`; on a full disk, tries again without the partial downloads of other versions."""
    try:
        _download_files(shared, version, target)
    except OSError as error:
        others = [path for path in target.parent.glob(f"{DOWNLOAD_PREFIX}*") if path != target]
        if error.errno != errno.ENOSPC or not others:
            raise
        # Nobody continues one now: this process has the lock of the folder.
        for path in others:
            shutil.rmtree(path, ignore_errors=True)
        deleted = sum(not path.exists() for path in others)
        if not deleted:  # those of other users
            raise
        logger.warning("partial_downloads_deleted count=%s reason=%r", deleted, str(error))
        _download_files(shared, version, target)


def _download_files(shared: Storage, version: ModelVersion, target: Path) -> None:
    limit = SpeedLimit(f"{shared}/{version.label}")
    text = _read_manifest(shared, version, limit)
    for name, expected in json.loads(text)["files"].items():
        if _describe_file(target / name) == expected:
            continue  # an earlier attempt has downloaded it
        try:
            found = _download_file(shared, f"{version.label}/{name}", target / name, limit)
        except ObjectMissing as error:
            raise ArtifactDamaged(str(error)) from None
        if found != expected:
            raise ArtifactDamaged(
                f"{shared}/{version.label}/{name} has changed since it was written: its checksum differs."
            )
    (target / MANIFEST).write_bytes(text)


def _download_file(shared: Storage, name: str, target: Path, limit: SpeedLimit) -> dict[str, Any]:
    """Download an object, again if its connection breaks and time is left; returns its size and checksum."""
    for _ in range(MAX_FILE_ATTEMPTS - 1):
        try:
            return _write_chunks(target, read_chunks(shared, name, limit))
        except RequestRefused:
            raise
        except ArtifactUnavailable as error:
            if limit.is_exceeded():
                raise
            logger.warning("download_repeated name=%s reason=%r", name, str(error))
    return _write_chunks(target, read_chunks(shared, name, limit))


def _read_manifest(shared: Storage, version: ModelVersion, limit: SpeedLimit | None = None) -> bytes:
    try:
        text = b"".join(read_chunks(shared, f"{version.label}/{MANIFEST}", limit))
    except ObjectMissing:
        raise ArtifactMissing(f"There is no model in {shared}/{version.label}.") from None
    if sha256(text).hexdigest() != version.artifact_sha256:
        raise ArtifactDamaged(
            f"{shared}/{version.label}/{MANIFEST} has changed since it was written: its checksum differs."
        )
    return text


def _require_complete(shared: Storage, version: ModelVersion, manifest: dict[str, Any]) -> None:
    """Compare the shared artifact's manifest and the sizes of its files; raises `ArtifactError`."""
    _read_manifest(shared, version)
    for name, expected in manifest["files"].items():
        full = f"{version.label}/{name}"
        with translated_errors(shared):
            size = shared.size(full) if shared.exists(full) else None
        if size != expected["bytes"]:
            state = "is missing" if size is None else f"has {size} bytes instead of {expected['bytes']}"
            raise ArtifactDamaged(f"{shared}/{full} {state}.")


def _modified_at(path: Path) -> float:
    """When the folder was last used; infinite if another process has deleted it."""
    try:
        return path.stat().st_mtime
    except OSError:
        return math.inf


def _is_intact(path: Path, digest: str) -> bool:
    try:
        artifact.verify_files(path, digest)
    except ArtifactError:
        return False
    return True


def _describe_file(path: Path) -> dict[str, Any] | None:
    """The file's size and checksum; None if it can't be read."""
    try:
        with path.open("rb") as file:
            return {"bytes": path.stat().st_size, "sha256": file_digest(file, "sha256").hexdigest()}
    except OSError:
        return None


def _write_chunks(path: Path, chunks: Iterator[bytes]) -> dict[str, Any]:
    digest, size = sha256(), 0
    with path.open("wb") as file:
        for chunk in chunks:
            digest.update(chunk)
            size += len(chunk)
            file.write(chunk)
    return {"bytes": size, "sha256": digest.hexdigest()}


@contextmanager
def _one_at_a_time(folder: Path, *, wait: bool = True) -> Iterator[bool]:
    """Lock the folder, so that no other process or thread of this machine downloads into it; yields True.

    Args:
        wait: whether to wait for the lock. If not, False is yielded while another process or thread has it.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        yield _lock(handle, wait=wait)
    finally:
        os.close(handle)


def _lock(handle: int, *, wait: bool) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
