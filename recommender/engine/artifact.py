"""A model on disk: plain arrays, a manifest, and hashes of both. Loading runs no code.

A version's folder holds one .npy file an array and `manifest.json`, which holds the facts and each file's
size and sha256. The manifest's own sha256 names the whole. A folder is written under another name, flushed
to the disk and renamed: it is there whole, or not at all.
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
    """A model's files can't be used."""


class ArtifactMissing(ArtifactError):
    """There is no such folder, or no manifest in it."""


class ArtifactDamaged(ArtifactError):
    """The files are not those that were written."""


class ArtifactExists(ArtifactError):
    """There is a model of this name already; what is written never changes."""


def write_arrays(folder: Path, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, object]) -> str:
    """Write a model; the sha256 that `read` wants to see again.

    Raises:
        ArtifactExists: the folder is there, perhaps another process's.
        OSError: the disk is full, or may not be written; nothing is left behind.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f"{UNFINISHED_PREFIX}{folder.name}-", dir=folder.parent))
    try:
        files = {f"{name}.npy": _save(unfinished / f"{name}.npy", array) for name, array in arrays.items()}
        manifest = json.dumps({"files": files, "facts": dict(facts)}, sort_keys=True).encode()
        _flush(unfinished / MANIFEST, manifest)
        _sync(unfinished)
        # mkdtemp lets nobody else in, but the web process may run as another user of the group.
        unfinished.chmod(0o755)
        _rename(unfinished, folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return hashlib.sha256(manifest).hexdigest()


def read_arrays(folder: Path, sha256: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The arrays, mapped into memory read-only, and the facts; every byte was verified before.

    Raises:
        ArtifactMissing: there is nothing to read.
        ArtifactDamaged: a file is missing, cut off, changed, or one too many.
    """
    manifest = verify_files(folder, sha256)
    arrays = {name.removesuffix(".npy"): _load(folder / name) for name in manifest["files"]}
    return arrays, manifest["facts"]


def verify_files(folder: Path, sha256: str) -> dict[str, Any]:
    """Compare every file with its hash; the manifest.

    Raises:
        ArtifactMissing: there is nothing to verify.
        ArtifactDamaged: a file is missing, cut off, changed, or one too many.
    """
    try:
        text = (folder / MANIFEST).read_bytes()
    except FileNotFoundError as error:
        raise ArtifactMissing(f"There is no model in {folder}.") from error
    except OSError as error:
        raise ArtifactMissing(f"The model in {folder} can't be read: {error}.") from error
    if hashlib.sha256(text).hexdigest() != sha256:
        raise ArtifactDamaged(f"{folder / MANIFEST} is not the one that was written.")
    manifest: dict[str, Any] = json.loads(text)
    found = {path.name for path in folder.iterdir()} - {MANIFEST}
    if found != set(manifest["files"]):
        odd = ", ".join(sorted(found ^ set(manifest["files"])))
        raise ArtifactDamaged(f"{folder} holds other files than were written: {odd}.")
    for name, wanted in manifest["files"].items():
        if _hashed(folder / name) != wanted:
            raise ArtifactDamaged(f"{folder / name} is not the file that was written.")
    return manifest


def size_in_bytes(folder: Path) -> int:
    """Bytes of all its files."""
    return sum(path.stat().st_size for path in folder.iterdir())


def clear_unfinished(storage: Path) -> int:
    """Remove what writers that died left behind; called by whoever holds the training's lock."""
    left = list(storage.glob(f"{UNFINISHED_PREFIX}*"))
    for folder in left:
        shutil.rmtree(folder, ignore_errors=True)
    return len(left)


def _save(path: Path, array: NDArray[Any]) -> dict[str, Any]:
    if array.dtype.hasobject:
        raise TypeError(f"{path.stem} holds Python objects: they would be pickled")
    with path.open("wb") as file:
        np.lib.format.write_array(file, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    return _hashed(path)


def _flush(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _hashed(path: Path) -> dict[str, Any]:
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
        # An array of nothing has no page to map.
        nothing: NDArray[Any] = np.load(path, allow_pickle=False)
        return nothing
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    # A byte of each page, while all are warm from hashing (16 ms for 450 MB): so every process shares every
    # page, and no page is one worker's own because nobody else has met it yet.
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
    """Flush the folder's own entries, where the system can."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
