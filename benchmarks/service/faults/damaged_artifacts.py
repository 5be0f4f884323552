"""Random damage to the files of a trained model: each must be refused, and none may run code."""

import random
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from recommender.engine.artifact import MANIFEST, ArtifactError, read_arrays

# A pickle that would create the file `executed` if it were loaded.
PICKLE: Final = b"cpathlib\nPath.touch\n(cpathlib\nPath\n(V%b\ntRtR."


@dataclass
class DamageTotals:
    refused: Counter[str] = field(default_factory=Counter)
    accepted: list[str] = field(default_factory=list)
    raised: list[str] = field(default_factory=list)
    executed: bool = False


def damage_artifacts(model: Path, sha256: str, folder: Path, count: int, seed: int) -> DamageTotals:
    """Damage copies of the model in `count` random ways, and load each."""
    draws, totals = random.Random(seed), DamageTotals()
    marker = folder / "executed"
    for number in range(count):
        copy = folder / f"copy-{number}"
        shutil.copytree(model, copy)
        damage = draws.choice(DAMAGES)
        damage(copy, draws, marker)
        try:
            read_arrays(copy, sha256)
        except ArtifactError as error:
            totals.refused[type(error).__name__] += 1
        except Exception as error:
            totals.raised.append(f"copy {number}, {damage.__name__}: {error!r}")
        else:
            totals.accepted.append(f"copy {number}, {damage.__name__}")
        shutil.rmtree(copy)
    totals.executed = marker.exists()
    return totals


def _pick(folder: Path, draws: random.Random) -> Path:
    return draws.choice(sorted(folder.iterdir()))


def flip_a_bit(folder: Path, draws: random.Random, marker: Path) -> None:
    file = _pick(folder, draws)
    content = bytearray(file.read_bytes())
    content[draws.randrange(len(content))] ^= 1 << draws.randrange(8)
    file.write_bytes(content)


def cut_off(folder: Path, draws: random.Random, marker: Path) -> None:
    file = _pick(folder, draws)
    content = file.read_bytes()
    file.write_bytes(content[: draws.randrange(len(content))])


def append_bytes(folder: Path, draws: random.Random, marker: Path) -> None:
    with _pick(folder, draws).open("ab") as file:
        file.write(draws.randbytes(draws.randint(1, 100)))


def delete_a_file(folder: Path, draws: random.Random, marker: Path) -> None:
    _pick(folder, draws).unlink()


def add_a_file(folder: Path, draws: random.Random, marker: Path) -> None:
    (folder / f"extra-{draws.randrange(1_000)}.npy").write_bytes(draws.randbytes(200))


def swap_two_files(folder: Path, draws: random.Random, marker: Path) -> None:
    first, second = draws.sample(sorted(folder.glob("*.npy")), 2)
    contents = first.read_bytes(), second.read_bytes()
    if contents[0] == contents[1]:
        cut_off(folder, draws, marker)
        return
    first.write_bytes(contents[1])
    second.write_bytes(contents[0])


def put_a_pickle(folder: Path, draws: random.Random, marker: Path) -> None:
    _pick(folder, draws).write_bytes(PICKLE % str(marker).encode())


def replace_by_a_link(folder: Path, draws: random.Random, marker: Path) -> None:
    file = _pick(folder, draws)
    file.unlink()
    file.symlink_to("/etc/hostname")


def rewrite_the_manifest(folder: Path, draws: random.Random, marker: Path) -> None:
    manifest = folder / MANIFEST
    text = manifest.read_text()
    manifest.write_text(draws.choice((text.replace('"files"', '"file"'), text + " ", "{}", "", "[1]")))


DAMAGES: Final[tuple[Callable[[Path, random.Random, Path], None], ...]] = (
    flip_a_bit, flip_a_bit, cut_off, append_bytes, delete_a_file, add_a_file, swap_two_files, put_a_pickle,
    replace_by_a_link, rewrite_the_manifest,
)  # fmt: skip
