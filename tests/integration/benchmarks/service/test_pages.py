"""The queries of every staff page on a filled database: `python -m benchmarks pages` with few rows."""

from pathlib import Path

import orjson
import pytest

from benchmarks.__main__ import main
from benchmarks.service.pages import MAX_QUERIES


@pytest.mark.slow
def test_no_staff_page_needs_more_than_fourteen_queries_and_the_benchmark_reports_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exit_code = main(["pages", "--quick", f"--json={tmp_path / 'pages.json'}"])

    findings = orjson.loads((tmp_path / "pages.json").read_bytes())["findings"]
    queries = dict(one["measure"].rsplit(", ", 1) for one in findings[:-1])
    assert exit_code == 0
    assert "songs, 4 queries" in capsys.readouterr().out
    assert {one["target"] for one in findings[:-1]} == {3.0}
    assert (findings[-1]["target"], findings[-1]["met"]) == (MAX_QUERIES, True)
    assert max(int(text.split()[0]) for text in queries.values()) <= MAX_QUERIES
    named = {"operations", "a run", "models", "a running experiment", "songs", "incidents: one"}
    assert named <= queries.keys()
    assert len(queries) > 55
