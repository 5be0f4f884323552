"""Number, duration and time formats of the operations pages."""

from datetime import UTC, datetime, timedelta

import pytest

from moovitamix.dashboard.formatting import (
    count_runs,
    format_age,
    format_bytes,
    format_clock,
    format_interval,
    format_measure,
    format_number,
    format_percent,
    format_time_ago,
    format_time_until,
)

NOW = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)


def plain(text: str) -> str:
    return text.replace("\N{NARROW NO-BREAK SPACE}", " ")


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (1012, "rows", "1 012"), (0, "rows", "0"), (12.54, "rows", "12.5"), (0.125, "share", "12.5 %"),
        (0.0004, "share", "< 0.1 %"), (0, "share", "0 %"), (1, "share", "100 %"), (0.42, "seconds", "0.42 s"),
        (0.0211, "seconds", "21.1 ms"), (0, "seconds", "0 s"),
        (75.04, "seconds", "75 s"), (192, "seconds", "3.2 min"), (18_000, "seconds", "5 h"),
        (259_200, "seconds", "3 days"), (999, "bytes", "999 B"), (168_000_000, "bytes", "168 MB"),
        (1580.2, "rows/s", "1 580 rows/s"), (None, "rows", "not measured"),
    ],
)  # fmt: skip
def test_a_measure_has_a_unit_and_at_most_one_decimal(value: float | None, unit: str, expected: str) -> None:
    assert plain(format_measure(value, unit)) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0 seconds"), (1, "1 second"), (89, "89 seconds"), (90, "1 minute"), (245, "4 minutes"),
     (5400, "1 hour"), (6.2 * 3600, "6 hours"), (172_800, "2 days"), (-5, "0 seconds")],
)  # fmt: skip
def test_an_age_uses_the_largest_fitting_unit(seconds: float, expected: str) -> None:
    assert format_age(seconds) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(60, "every minute"), (900, "every 15 minutes"), (3600, "every hour"), (86_400, "every day"),
     (90, "every 90 seconds"), (0.5, "every 0.5 seconds")],
)  # fmt: skip
def test_an_interval_uses_whole_units(seconds: float, expected: str) -> None:
    assert format_interval(seconds) == expected


def test_times_of_today_have_no_date() -> None:
    assert format_clock(NOW - timedelta(hours=7), NOW) == "02:30"
    assert format_clock(NOW - timedelta(hours=31), NOW) == "2026-11-22 02:30"
    assert format_time_ago(NOW - timedelta(minutes=4), NOW) == "4 minutes ago"
    assert format_time_until(NOW + timedelta(hours=6), NOW) == "in 6 hours"


def test_counts_use_singular_and_plural() -> None:
    assert plain(count_runs(1)) == "1 run"
    assert plain(count_runs(2160)) == "2 160 runs"


def test_rounding_keeps_the_format() -> None:
    assert plain(format_number(99.96)) == "100"
    assert plain(format_bytes(1_999_999)) == "2 MB"
    assert plain(format_percent(0.9999)) == "100 %"
