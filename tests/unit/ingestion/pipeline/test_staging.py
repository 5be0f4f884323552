"""Staging: pages on disk are readable after a crash, up to the first damaged one."""

from pathlib import Path

import pytest

from ingestion.pipeline.staging import FrameKind, Spool, Staging


def opened(path: Path) -> Spool:
    spool = Spool(path)
    spool.open()
    return spool


def test_appended_pages_are_read_after_a_restart(tmp_path: Path) -> None:
    spool = opened(tmp_path / "songs.pages")
    spool.append_frame(FrameKind.PAGE, 2, b"two")
    spool.append_frame(FrameKind.PAGE, 1, b"one")
    spool.mark_complete({"total": 2})
    spool.close()

    again = opened(tmp_path / "songs.pages")

    assert list(again.read_bodies(FrameKind.PAGE)) == [(1, b"one"), (2, b"two")]
    assert again.completed_stats == {"total": 2}
    again.close()


def test_a_page_read_again_replaces_itself(tmp_path: Path) -> None:
    spool = opened(tmp_path / "songs.pages")

    spool.append_frame(FrameKind.PAGE, 1, b"old")
    spool.append_frame(FrameKind.PAGE, 1, b"newer")

    assert spool.read_frame(FrameKind.PAGE, 1) == b"newer"
    spool.close()


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_truncated_file_keeps_the_complete_frames(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "songs.pages"
    spool = opened(path)
    spool.append_frame(FrameKind.PAGE, 1, b"one" * 5)
    whole = path.stat().st_size if spool.read_frame(FrameKind.PAGE, 1) else 0
    spool.append_frame(FrameKind.PAGE, 2, b"two" * 50)
    spool.mark_complete({"total": 2})
    spool.close()
    path.write_bytes(path.read_bytes()[: whole + cut])

    again = opened(path)

    assert list(again.read_bodies(FrameKind.PAGE)) == [(1, b"one" * 5)]
    assert again.completed_stats is None
    assert path.stat().st_size == whole
    again.close()


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "songs.pages"
    spool = opened(path)
    spool.append_frame(FrameKind.PAGE, 1, b"a page")
    spool.mark_complete({})
    spool.close()
    body = bytearray(path.read_bytes())
    body[len(body) // 3] ^= 1
    path.write_bytes(bytes(body))

    again = opened(path)

    assert again.page_numbers(FrameKind.PAGE) == []
    assert again.completed_stats is None
    again.close()


def test_pages_beyond_the_new_end_are_dropped(tmp_path: Path) -> None:
    spool = opened(tmp_path / "songs.pages")
    for number in (1, 2, 3):
        spool.append_frame(FrameKind.PAGE, number, b"x")

    spool.drop_after(FrameKind.PAGE, 2)

    assert spool.page_numbers(FrameKind.PAGE) == [1, 2]
    spool.close()


def test_discarding_removes_the_folder(tmp_path: Path) -> None:
    staging = Staging(tmp_path / "run-1")
    staging.spool("songs").append_frame(FrameKind.PAGE, 1, b"x")

    staging.discard()

    assert list(tmp_path.iterdir()) == []
