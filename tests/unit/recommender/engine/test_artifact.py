"""A model's files: whole or not there, verified before use, never run."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recommender.engine import artifact
from recommender.engine.artifact import ArtifactDamaged, ArtifactExists, ArtifactMissing

ARRAYS: dict[str, Any] = {
    "song_ids": np.arange(1_000),
    "weights": np.linspace(0, 1, 7),
    "nothing": np.empty((0, 3), np.float32),
}
FACTS: dict[str, object] = {"label": "2026w47.1", "words": ["rock"]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models" / "2026w47.1"


def test_what_is_written_is_read_again_as_read_only_maps(folder: Path) -> None:
    sha256 = artifact.write(folder, ARRAYS, FACTS)

    arrays, facts = artifact.read(folder, sha256)

    assert facts == FACTS
    assert all(np.array_equal(arrays[name], array) for name, array in ARRAYS.items())
    assert arrays["nothing"].shape == (0, 3)
    assert isinstance(arrays["song_ids"], np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        arrays["song_ids"][0] = 5


def test_what_was_never_written_is_missing(folder: Path) -> None:
    with pytest.raises(ArtifactMissing, match="There is no model in"):
        artifact.read(folder, "0" * 64)


@pytest.mark.parametrize("name", ["song_ids.npy", "weights.npy", "nothing.npy", "manifest.json"])
def test_a_flipped_bit_anywhere_is_damage(folder: Path, name: str) -> None:
    sha256 = artifact.write(folder, ARRAYS, FACTS)
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)

    with pytest.raises(ArtifactDamaged, match=name):
        artifact.read(folder, sha256)


def test_a_file_that_was_cut_off_is_damage(folder: Path) -> None:
    sha256 = artifact.write(folder, ARRAYS, FACTS)
    content = (folder / "song_ids.npy").read_bytes()
    (folder / "song_ids.npy").write_bytes(content[:-1])

    with pytest.raises(ArtifactDamaged, match="song_ids"):
        artifact.read(folder, sha256)


def test_a_missing_or_an_additional_file_is_damage(folder: Path) -> None:
    sha256 = artifact.write(folder, ARRAYS, FACTS)
    (folder / "weights.npy").rename(folder / "other.npy")

    with pytest.raises(ArtifactDamaged, match=r"other\.npy, weights\.npy"):
        artifact.read(folder, sha256)


def test_another_model_s_hash_is_damage(folder: Path) -> None:
    artifact.write(folder, ARRAYS, FACTS)

    with pytest.raises(ArtifactDamaged, match="not the one that was written"):
        artifact.read(folder, "0" * 64)


def test_a_model_is_never_written_over(folder: Path) -> None:
    sha256 = artifact.write(folder, ARRAYS, FACTS)

    with pytest.raises(ArtifactExists):
        artifact.write(folder, {"song_ids": np.arange(3)}, {})

    assert artifact.read(folder, sha256)[1] == FACTS
    assert [path.name for path in folder.parent.iterdir()] == ["2026w47.1"]


@pytest.mark.parametrize("broken", ["_save", "_flush", "_rename"])
def test_a_writer_that_breaks_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(artifact, broken, full)

    with pytest.raises(OSError, match="No space left"):
        artifact.write(folder, ARRAYS, FACTS)

    assert list(folder.parent.iterdir()) == []


def test_what_a_killed_writer_left_is_cleared(folder: Path) -> None:
    artifact.write(folder, ARRAYS, FACTS)
    (folder.parent / ".unfinished-2026w47.2-abc").mkdir()

    assert artifact.clear_unfinished(folder.parent) == 1
    assert [path.name for path in folder.parent.iterdir()] == ["2026w47.1"]


def test_python_objects_are_refused_for_loading_them_would_run_code(folder: Path) -> None:
    with pytest.raises(TypeError, match="pickled"):
        artifact.write(folder, {"names": np.array([{}], dtype=object)}, {})

    assert list(folder.parent.iterdir()) == []
