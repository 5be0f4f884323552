"""Rows in other forms: renamed fields, other formats and units, future times, and empty lists."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from ingestion.models import Listener, ListeningHistory, Song
from ingestion.pipeline.quality_gate import QualityLimits
from tests.integration.ingestion.conftest import Run
from tests.support.builders.source_rows import make_session, make_track, make_user
from tests.support.servers.list_source import ListSource


def test_a_field_that_has_another_name_on_the_first_run_is_partial_with_both_names(
    run: Run, source: ListSource
) -> None:
    for row in source.tracks:
        row["record_title"] = row.pop("album")

    first = run()

    assert (first.status, first.error_kind) == ("partial", "form_changed")
    assert "album absent, left empty in 30 of 30 rows of songs" in first.error
    assert "Most of these rows have the unknown field record_title." in first.error


def test_a_time_that_gets_another_name_is_not_lost(run: Run, source: ListSource) -> None:
    source.tracks = [make_track(pk, updated_at="2026-11-20T10:00:00") for pk in range(1, 31)]
    run()
    for row in source.tracks:
        row["modified"] = row.pop("updated_at")

    second = run()

    assert (second.status, second.error_kind) == ("partial", "form_changed")
    assert "updated_at became empty in 30 of 30 known rows; no songs were written" in second.error
    assert "unknown field modified" in second.error
    assert set(Song.objects.values_list("updated_at__day", flat=True)) == {20}


def test_e_mail_addresses_in_lower_case_are_changes_and_no_reset(run: Run, source: ListSource) -> None:
    source.users = [make_user(pk, email=f"User{pk}@Example.org") for pk in range(1, 11)]
    run()
    source.users = [make_user(pk, email=f"user{pk}@example.org") for pk in range(1, 11)]

    second = run()

    users = second.reports.get(resource="users")
    assert (second.status, users.changed, users.written) == ("succeeded", 10, 10)
    assert Listener.objects.get(pk=3).email == "user3@example.org"


def test_times_after_the_run_are_counted_and_left_out_of_the_latency(run: Run, source: ListSource) -> None:
    tomorrow = (timezone.now() + timedelta(days=1)).isoformat()
    source.sessions = [make_session(pk, [pk], created_at=tomorrow, updated_at=tomorrow) for pk in (1, 2, 3)]
    source.tracks[0] = make_track(1, updated_at="9999-12-31T23:59:59")

    first = run()

    songs, history = (first.reports.get(resource=name) for name in ("songs", "listening_history"))
    assert (first.status, songs.future_times, history.future_times) == ("succeeded", 1, 3)
    assert history.latency_max is None
    assert songs.latency_p50 is not None
    assert songs.latency_p50 > 0
    assert "3 with a time after the run" in first.summary
    assert ListeningHistory.objects.count() == 3


def test_sessions_of_new_listeners_wait_while_no_listeners_can_be_written(
    run: Run, source: ListSource
) -> None:
    run()
    source.users = [make_user(pk, first_name="") for pk in range(1, 13)]
    source.sessions += [make_session(11, [1]), make_session(2, [3], created_at="2026-11-02T10:00:00")]

    held = run(limits=QualityLimits(rejected=0.2))
    source.users = [make_user(pk) for pk in range(1, 13)]
    mended = run()

    assert (held.status, held.error_kind) == ("partial", "form_changed")
    assert "no users were written" in held.error
    assert held.reports.get(resource="listening_history").new == 1
    assert (mended.status, ListeningHistory.objects.count()) == ("succeeded", 12)


@pytest.mark.parametrize(
    ("rewrite", "how"),
    [
        (lambda row: {"name": row["artist"], "artist": row["name"]}, "identifying fields changed places"),
        (lambda row: {"duration": 200_000}, "duration changed by the factor 1000"),
    ],
)
def test_values_that_are_written_elsewhere_or_in_another_unit_are_a_change_of_form_and_no_reset(
    run: Run, source: ListSource, rewrite: Callable[[dict[str, Any]], dict[str, Any]], how: str
) -> None:
    run()
    source.tracks = [row | rewrite(row) for row in source.tracks]

    second = run()

    assert (second.status, second.error_kind) == ("partial", "form_changed")
    assert f"{how} in 30 of 30 known rows; no songs were written" in second.error
    assert "--accept-reset" not in second.error
    assert Song.objects.get(pk=3).artist == "Artist 3"


def test_an_empty_list_of_songs_is_refused_with_advice_to_ask_about_it(run: Run, source: ListSource) -> None:
    run()
    source.tracks = []

    second = run()

    assert (second.status, second.error_kind) == ("refused", "source_reset")
    assert "An empty list is rather a fault of the source than a new catalogue" in second.error
    assert "If the source really has a new catalogue" not in second.error
