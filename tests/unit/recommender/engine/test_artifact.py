"""Model artifacts: complete or absent, verified before use, loaded without running code."""

import hashlib
import os
import subprocess
import sys
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


# Kills a writer before each line of the module that it comes to, one child a line, until one gets through.
KILLER = """
import os, signal, sys
from pathlib import Path
import numpy as np
from recommender.engine import artifact

def write(folder, lines):
    left = [lines]
    def before(frame, event, argument):
        if frame.f_code.co_filename != artifact.__file__:
            return None
        if event == "line":
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return before
    sys.settrace(before)
    arrays = {"song_ids": np.arange(1000), "weights": np.ones(7)}
    artifact.write_arrays(folder, arrays, {"label": folder.name})
    os._exit(0)

storage, lines, status = Path(sys.argv[1]), 0, 9
while status:
    child = os.fork()
    if not child:
        write(storage / f"v{lines:03}", lines)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), status
    lines += 1
print(lines)
"""
# Waits for its turn, so that all start at once; prints the hash, or that another was first.
WRITER = """
import sys
from pathlib import Path
import numpy as np
from recommender.engine import artifact

number = int(sys.argv[2])
arrays = {name: np.full(50_000, number) for name in "abcd"}
print("ready", flush=True)
sys.stdin.readline()
try:
    print(artifact.write_arrays(Path(sys.argv[1]), arrays, {"writer": number}))
except artifact.ArtifactExists:
    print("another was first")
"""
QUIET = {**os.environ, "PYTHONWARNINGS": "", "OMP_NUM_THREADS": "1"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models" / "2026w47.1"


def test_arrays_are_read_back_as_read_only_memory_maps(folder: Path) -> None:
    sha256 = artifact.write_arrays(folder, ARRAYS, FACTS)

    arrays, facts = artifact.read_arrays(folder, sha256)

    assert facts == FACTS
    assert all(np.array_equal(arrays[name], array) for name, array in ARRAYS.items())
    assert arrays["nothing"].shape == (0, 3)
    assert isinstance(arrays["song_ids"], np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        arrays["song_ids"][0] = 5


def test_a_folder_that_does_not_exist_is_a_missing_artifact(folder: Path) -> None:
    with pytest.raises(ArtifactMissing, match="There is no model in"):
        artifact.read_arrays(folder, "0" * 64)


@pytest.mark.parametrize("name", ["song_ids.npy", "weights.npy", "nothing.npy", "manifest.json"])
def test_a_flipped_bit_in_any_file_is_damage(folder: Path, name: str) -> None:
    sha256 = artifact.write_arrays(folder, ARRAYS, FACTS)
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)

    with pytest.raises(ArtifactDamaged, match=name):
        artifact.read_arrays(folder, sha256)


def test_a_truncated_file_is_damage(folder: Path) -> None:
    sha256 = artifact.write_arrays(folder, ARRAYS, FACTS)
    content = (folder / "song_ids.npy").read_bytes()
    (folder / "song_ids.npy").write_bytes(content[:-1])

    with pytest.raises(ArtifactDamaged, match="song_ids"):
        artifact.read_arrays(folder, sha256)


def test_a_missing_or_additional_file_is_damage(folder: Path) -> None:
    sha256 = artifact.write_arrays(folder, ARRAYS, FACTS)
    (folder / "weights.npy").rename(folder / "other.npy")

    with pytest.raises(ArtifactDamaged, match=r"other\.npy, weights\.npy"):
        artifact.read_arrays(folder, sha256)


def test_the_checksum_of_another_model_is_damage(folder: Path) -> None:
    artifact.write_arrays(folder, ARRAYS, FACTS)

    with pytest.raises(ArtifactDamaged, match="its checksum differs"):
        artifact.read_arrays(folder, "0" * 64)


def test_an_artifact_is_never_overwritten(folder: Path) -> None:
    sha256 = artifact.write_arrays(folder, ARRAYS, FACTS)

    with pytest.raises(ArtifactExists):
        artifact.write_arrays(folder, {"song_ids": np.arange(3)}, {})

    assert artifact.read_arrays(folder, sha256)[1] == FACTS
    assert [path.name for path in folder.parent.iterdir()] == ["2026w47.1"]


@pytest.mark.parametrize("broken", ["_save", "_flush", "_rename"])
def test_a_failed_write_leaves_nothing_behind(
    folder: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(artifact, broken, full)

    with pytest.raises(OSError, match="No space left"):
        artifact.write_arrays(folder, ARRAYS, FACTS)

    assert list(folder.parent.iterdir()) == []


def test_a_writer_killed_at_any_line_leaves_a_complete_artifact_or_none(tmp_path: Path) -> None:
    good = artifact.write_arrays(tmp_path / "good", ARRAYS, FACTS)

    done = subprocess.run(
        [sys.executable, "-c", KILLER, str(tmp_path)], capture_output=True, text=True, check=True, env=QUIET
    )

    lines = int(done.stdout)
    assert lines > 40
    there = sorted(path.name for path in tmp_path.glob("v*"))
    # Killed early there is nothing; once renamed, the model is whole, though its writer never came to say so.
    assert there == [f"v{line:03}" for line in range(lines - len(there), lines)]
    for name in there:
        sha256 = sha256_of(tmp_path / name / artifact.MANIFEST)
        assert artifact.read_arrays(tmp_path / name, sha256)[1] == {"label": name}
    assert artifact.clear_unfinished(tmp_path) > 30
    assert artifact.read_arrays(tmp_path / "good", good)[1] == FACTS


def test_one_of_two_concurrent_writers_wins_and_files_are_never_mixed(folder: Path) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder), str(number)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=QUIET,
        )
        for number in range(4)
    ]  # fmt: skip
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"

    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()

    said = [writer.communicate()[0].strip() for writer in writers]
    winner = next(number for number, answer in enumerate(said) if answer != "another was first")
    assert said.count("another was first") == 3
    arrays, facts = artifact.read_arrays(folder, said[winner])
    assert facts == {"writer": winner}
    assert all((arrays[name] == winner).all() for name in "abcd")
    assert [path.name for path in folder.parent.iterdir()] == ["2026w47.1"]


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_folder_of_a_killed_writer_is_removed(folder: Path) -> None:
    artifact.write_arrays(folder, ARRAYS, FACTS)
    (folder.parent / ".unfinished-2026w47.2-abc").mkdir()

    assert artifact.clear_unfinished(folder.parent) == 1
    assert [path.name for path in folder.parent.iterdir()] == ["2026w47.1"]


def test_python_objects_are_refused_because_loading_them_would_run_code(folder: Path) -> None:
    with pytest.raises(TypeError, match="pickled"):
        artifact.write_arrays(folder, {"names": np.array([{}], dtype=object)}, {})

    assert list(folder.parent.iterdir()) == []
