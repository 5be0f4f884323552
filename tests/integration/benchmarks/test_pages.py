"""The queries of every staff page on a filled database: a small part of `python -m benchmarks pages`."""

from pathlib import Path

import orjson
import pytest

from benchmarks.__main__ import main
from benchmarks.pages import MAX_QUERIES
from benchmarks.processes.page_timing import fill_service, measure_pages


@pytest.mark.slow
@pytest.mark.django_db
def test_no_staff_page_needs_more_than_twelve_queries() -> None:
    fill_service(songs=400, listeners=80, runs=70)

    asked = {page.name: page.queries for page in measure_pages(rounds=0)}

    assert {name: queries for name, queries in asked.items() if queries > MAX_QUERIES} == {}
    assert {
        "operations",
        "a run",
        "models",
        "a running experiment",
        "songs",
        "incidents: one",
    } <= asked.keys()
    assert len(asked) > 55


@pytest.mark.slow
def test_the_benchmark_reports_the_time_and_queries_of_each_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exit_code = main(["pages", "--quick", f"--json={tmp_path / 'pages.json'}"])

    findings = orjson.loads((tmp_path / "pages.json").read_bytes())["findings"]
    assert exit_code == 0
    assert "songs, 3 queries" in capsys.readouterr().out
    assert {one["target"] for one in findings[:-1]} == {3.0}
    assert (findings[-1]["target"], findings[-1]["met"]) == (MAX_QUERIES, True)
