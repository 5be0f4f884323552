"""Which days `simulate` and `demo` simulate."""

from datetime import UTC, date, datetime

import pytest

from moovitamix.management.commands.simulate import plan_days


@pytest.mark.parametrize(
    ("now", "first", "days"),
    [
        (datetime(2026, 11, 29, 12, tzinfo=UTC), date(2026, 11, 16), 13),  # a Sunday
        (datetime(2026, 11, 30, 12, tzinfo=UTC), date(2026, 11, 16), 14),  # a Monday
        (datetime(2026, 12, 1, 12, tzinfo=UTC), date(2026, 11, 23), 8),
        # Before the morning's tasks are over the day before is not finished.
        (datetime(2026, 12, 1, 6, 59, tzinfo=UTC), date(2026, 11, 16), 14),
    ],
)
def test_two_weeks_to_today_begin_on_a_monday_and_end_yesterday(
    now: datetime, first: date, days: int
) -> None:
    assert plan_days(now, 2, to_today=True, last_day=None) == (first, days)


def test_other_weeks_are_whole_and_end_last_sunday_or_on_the_given_one() -> None:
    now = datetime(2026, 11, 29, 12, tzinfo=UTC)

    assert plan_days(now, 2, to_today=False, last_day=None) == (date(2026, 11, 9), 14)
    assert plan_days(now, 3, to_today=False, last_day=date(2021, 1, 24)) == (date(2021, 1, 4), 21)
