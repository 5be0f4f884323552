"""Writes, verifies and memory-maps model artifacts: .npy files and a manifest with checksums.

A folder is either complete or absent. Loading executes no code: pickle is not used.
"""

import hashlib
import json
import mmap
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MANIFEST: Final = "manifest.json"
UNFINISHED_PREFIX: Final = ".unfinished-"


class ArtifactError(Exception):
    """The files of a model are unusable."""


class ArtifactMissing(ArtifactError):
    """The folder or manifest is missing or unreadable."""


class ArtifactDamaged(ArtifactError):
    """A file is missing, truncated, changed or unexpected."""


class ArtifactUnavailable(ArtifactError, OSError):
    """The storage that machines share can't be used now; a later attempt may succeed."""


class ArtifactExists(ArtifactError):
    """The artifact exists already; artifacts are never overwritten."""


def write_arrays(folder: Path, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, object]) -> str:
    """Write an artifact and return its manifest's SHA-256, which `read_arrays` needs.

    Raises:
        ArtifactExists: perhaps another process has written it.
        OSError: the disk is full or not writable; unfinished files are removed.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f"{UNFINISHED_PREFIX}{folder.name}-", dir=folder.parent))
    try:
        files = {f"{name}.npy": _save(unfinished / f"{name}.npy", array) for name, array in arrays.items()}
        manifest = json.dumps({"files": files, "facts": dict(facts)}, sort_keys=True).encode()
        _flush(unfinished / MANIFEST, manifest)
        _sync(unfinished)
        # mkdtemp makes a private folder, but the web process may run as another user.
        unfinished.chmod(0o755)
        _rename(unfinished, folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return hashlib.sha256(manifest).hexdigest()


def read_arrays(folder: Path, sha256: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The verified arrays as read-only memory maps, and the facts.

    Raises:
        ArtifactError: a file is missing, unreadable or changed.
    """
    manifest = verify_files(folder, sha256)
    arrays = {name.removesuffix(".npy"): _load(folder / name) for name in manifest["files"]}
    return arrays, manifest["facts"]


def verify_files(folder: Path, sha256: str) -> dict[str, Any]:
    """Compare every file with its checksum and return the manifest.

    Raises:
        ArtifactError: a file is missing, unreadable or changed.
    """
    try:
        text = (folder / MANIFEST).read_bytes()
    except FileNotFoundError as error:
        raise ArtifactMissing(f"There is no model in {folder}.") from error
    except OSError as error:
        raise ArtifactMissing(f"The model in {folder} can't be read: {error}.") from error
    if hashlib.sha256(text).hexdigest() != sha256:
        raise ArtifactDamaged(f"{folder / MANIFEST} has changed since it was written: its checksum differs.")
    manifest: dict[str, Any] = json.loads(text)
    found = {path.name for path in folder.iterdir()} - {MANIFEST}
    if found != set(manifest["files"]):
        different = ", ".join(sorted(found ^ set(manifest["files"])))
        raise ArtifactDamaged(f"{folder} has missing or unexpected files: {different}.")
    for name, expected in manifest["files"].items():
        if _size_and_sha256(folder / name) != expected:
            raise ArtifactDamaged(f"{folder / name} has changed since it was written: its checksum differs.")
    return manifest


def size_in_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def clear_unfinished(storage: Path) -> int:
    """Remove folders that crashed writers left; the caller must hold the training lock."""
    leftovers = list(storage.glob(f"{UNFINISHED_PREFIX}*"))
    for folder in leftovers:
        shutil.rmtree(folder, ignore_errors=True)
    return len(leftovers)


def _save(path: Path, array: NDArray[Any]) -> dict[str, Any]:
    if array.dtype.hasobject:
        raise TypeError(f"{path.stem} holds Python objects: they would be pickled")
    with path.open("wb") as file:
        np.lib.format.write_array(file, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    return _size_and_sha256(path)


def _flush(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _size_and_sha256(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return {
                "bytes": os.fstat(file.fileno()).st_size,
                "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
            }
    except OSError as error:
        raise ArtifactDamaged(f"{path} can't be read: {error}.") from error


def _load(path: Path) -> NDArray[Any]:
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        shape = np.lib.format.read_array_header_1_0(file)[0]
    if 0 in shape:
        # An empty array cannot be memory-mapped.
        empty: NDArray[Any] = np.load(path, allow_pickle=False)
        return empty
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    # Read one byte of each page while they are cached by the hashing (16 ms for 450 MB), so that all worker
    # processes share every page.
    array.reshape(-1).view(np.uint8)[:: mmap.PAGESIZE].max()
    return array


def _rename(unfinished: Path, folder: Path) -> None:
    try:
        unfinished.rename(folder)
    except OSError as error:
        if folder.exists():
            raise ArtifactExists(f"There is a model in {folder} already.") from error
        raise
    _sync(folder.parent)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
