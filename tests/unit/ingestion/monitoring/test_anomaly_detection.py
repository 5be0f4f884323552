"""Expected ranges, compared with values computed by hand or by scipy."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from scipy import stats

from ingestion.monitoring.anomaly_detection import AnomalyResult, compute_expected_range, detect_anomalies
from ingestion.monitoring.anomaly_rules import COUNT_SCALE, LINEAR_SCALE, LOG_SCALE, AnomalyRule
from ingestion.monitoring.run_metrics import RunMetrics

MONDAY = datetime(2026, 3, 2, 2, 0, tzinfo=UTC)
RULE = AnomalyRule("received", ("songs",), LINEAR_SCALE, 0.0)


def account(day: float, values: dict[tuple[str, str], float], *, gap: float | None = 1.0) -> RunMetrics:
    """The metrics of a run so many days after a Monday; `gap` is the time since the last run in days."""
    made = RunMetrics(int(day * 10) + 1, "succeeded", MONDAY + timedelta(days=day), dry_run=False,
                   accept_reset=False, trigger="schedule")  # fmt: skip
    made.values = values
    made.gap_seconds = None if gap is None else gap * 86_400
    return made


def days(measure: str, values: Sequence[float], resource: str = "songs") -> list[RunMetrics]:
    return [account(day, {(measure, resource): value}) for day, value in enumerate(values)]


def verdict(measure: str, values: Sequence[float], resource: str = "songs") -> AnomalyResult:
    """The check of the last value against the earlier ones."""
    *past, last = days(measure, values, resource)
    return next(one for one in detect_anomalies(last, past, {}) if one.measure == measure)


def test_a_band_is_the_median_and_k_robust_deviations_widened_for_few_values() -> None:
    values = [float(value) for value in np.random.default_rng(1).normal(500, 30, 40)]

    found = compute_expected_range(values, RULE, k=4.5)

    deviation = stats.median_abs_deviation(values, scale="normal")
    half = 4.5 * (1 + 2 / 40) * deviation
    assert found.median == np.median(values)
    assert found.mad == pytest.approx(stats.median_abs_deviation(values))
    # 1.4826 is rounded.
    assert (found.low, found.high) == pytest.approx((found.median - half, found.median + half), rel=1e-5)
    assert found.n == 40


def test_values_that_never_differ_still_have_a_band() -> None:
    found = compute_expected_range(
        [100.0] * 10, AnomalyRule("received", ("songs",), LINEAR_SCALE, 2.0, min_relative_std=0.03), k=4.5
    )

    assert (found.low, found.high) == pytest.approx((100 - 4.5 * 1.2 * 3, 100 + 4.5 * 1.2 * 3))


@pytest.mark.parametrize("scale", [COUNT_SCALE, LOG_SCALE, LINEAR_SCALE])
@pytest.mark.parametrize("value", [0.5, 7.0, 1234.0, 1e7])
def test_scales_lead_there_and_back(scale: object, value: float) -> None:
    assert scale.invert(scale.transform(value)) == pytest.approx(value)  # type: ignore[attr-defined]


@pytest.mark.parametrize("mean", [5, 50, 5_000, 500_000])
def test_healthy_counts_of_any_size_deviate_by_about_one_on_their_scale(mean: int) -> None:
    rng = np.random.default_rng(2)
    counts = rng.poisson(mean * rng.gamma(25, 1 / 25, 20_000))  # 20 % from day to day

    there = [COUNT_SCALE.transform(float(count)) for count in counts]

    assert np.std(there) == pytest.approx(1.0, abs=0.06)


def test_edges_are_usual_themselves_and_what_lies_beyond_is_not() -> None:
    held = verdict("received", [*[1000.0] * 20, 1000.0]).expected

    assert held is not None
    assert verdict("received", [*[1000.0] * 20, held.low]).verdict == "usual"
    assert verdict("received", [*[1000.0] * 20, held.low - 0.01]).verdict == "low"
    assert verdict("received", [*[1000.0] * 20, held.high + 0.01]).verdict == "high"


@pytest.mark.parametrize(("runs", "spacing"), [(7, 1.0), (20, 0.3)])
def test_eight_runs_and_seven_days_are_learnt_from_first(runs: int, spacing: float) -> None:
    past = [account(at * spacing, {("received", "songs"): 1000.0}, gap=spacing) for at in range(runs)]
    last = account(runs * spacing, {("received", "songs"): 1.0}, gap=spacing)

    (judgement,) = detect_anomalies(last, past, {})

    assert (judgement.verdict, judgement.is_anomaly, judgement.expected) == ("learning", False, None)


def test_a_list_that_grows_day_by_day_is_expected_to_grow_on() -> None:
    grown = [1000.0 + 100 * day for day in range(30)]

    assert verdict("received", [*grown, 4000.0]).expected[0] == pytest.approx(4000.0)  # type: ignore[index]
    assert verdict("received", [*grown, 4000.0]).verdict == "usual"
    assert verdict("received", [*grown, 2000.0]).verdict == "low"


def test_three_wrong_days_do_not_move_what_is_usual() -> None:
    past = [1000.0] * 20
    past[4] = past[11] = past[15] = 5.0

    assert verdict("received", [*past, 1000.0]).verdict == "usual"
    assert verdict("received", [*past, 500.0]).verdict == "low"


def test_no_new_listening_is_a_trouble_and_no_new_song_is_none() -> None:
    listening = verdict("new", [*[200.0, 240.0, 180.0] * 6, 0.0], "listening_history")
    songs = verdict("new", [*[200.0, 240.0, 180.0] * 6, 0.0])

    assert (listening.verdict, listening.is_anomaly) == ("low", True)
    assert (songs.verdict, songs.is_anomaly) == ("low", False)


def test_too_slow_and_too_fast_are_both_found() -> None:
    past = [60.0, 62.0, 58.0] * 6

    assert verdict("duration", [*past, 180.0], "").verdict == "high"
    assert verdict("duration", [*past, 20.0], "").verdict == "low"
    assert verdict("duration", [*past, 100.0], "").verdict == "usual"


def test_seconds_more_are_nothing_where_runs_take_a_second() -> None:
    assert verdict("duration", [*[1.0, 1.1, 0.9] * 6, 5.0], "").verdict == "usual"


def test_two_days_news_in_one_run_is_twice_as_much_as_usual() -> None:
    past = [account(day, {("new", "songs"): 100.0 + day % 3}) for day in range(20)]
    late = account(21, {("new", "songs"): 200.0}, gap=2.0)

    (judgement,) = detect_anomalies(late, past, {})

    assert judgement.expected is not None
    assert judgement.expected.median == pytest.approx(202.0)


def test_a_run_by_hand_soon_after_another_is_not_asked_for_news() -> None:
    past = [account(day, {("new", "songs"): 100.0}) for day in range(20)]

    assert list(detect_anomalies(account(19.2, {("new", "songs"): 0.0}, gap=0.2), past, {})) == []


def test_fridays_are_held_against_fridays_once_each_weekday_came_four_times() -> None:
    # Day 4 after a Monday is a Friday.
    releases = [50.0 if day % 7 == 4 else 5.0 for day in range(40)]

    friday = verdict("new", releases)
    monday = verdict("new", [*releases, 5.0, 5.0, 50.0])

    assert friday.verdict == "usual"
    assert friday.expected is not None
    assert friday.expected.median == pytest.approx(50.0)
    assert (monday.verdict, monday.is_anomaly) == ("high", True)


def test_before_the_weekdays_are_known_what_came_once_may_come_again() -> None:
    releases = [50.0 if day % 7 == 4 else 5.0 for day in range(12)]

    assert verdict("new", releases).verdict == "usual"


def test_a_reset_forgets_the_runs_before_it_for_its_measure_alone() -> None:
    past = [account(day, {("received", "songs"): 9.0, ("received", "users"): 9.0}) for day in range(20)]
    last = account(20, {("received", "songs"): 90.0, ("received", "users"): 90.0})

    found = {one.resource: one.verdict for one in detect_anomalies(last, past, {("received", "songs"): 151})}

    assert found == {"songs": "learning", "users": "high"}


def test_runs_that_failed_tried_or_imported_are_not_held_against() -> None:
    past = days("received", [1000.0] * 20)
    for one in past[10:]:
        one.status = "partial"
    last = account(20, {("received", "songs"): 1000.0})

    (judgement,) = detect_anomalies(last, past, {})

    assert judgement.n == 10


def test_nothing_is_said_of_a_run_for_which_a_person_accepted_another_catalogue() -> None:
    last = account(20, {("received", "songs"): 1.0})
    last.accept_reset = True

    assert list(detect_anomalies(last, days("received", [1000.0] * 20), {})) == []
