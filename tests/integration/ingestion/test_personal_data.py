"""Listeners who left the source lose their personal data; a forgotten listener leaves nothing."""

import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from ingestion.models import IngestionRun, Listener, ListeningHistory, Rejection
from ingestion.pipeline.run_lifecycle import start_run
from ingestion.tasks import delete_expired
from recommender.models import Feedback
from tests.integration.ingestion.conftest import Run
from tests.support.builders.finished_runs import make_finished_run
from tests.support.builders.source_rows import make_user
from tests.support.servers.list_source import ListSource

pytestmark = pytest.mark.django_db
PERSONAL = ("first_name", "last_name", "email", "gender", "favorite_genres")


@pytest.fixture
def erased_at_source(run: Run, source: ListSource) -> int:
    """The ID of a listener whom the source sent once and, in two later runs, no more."""
    run()
    source.users = source.users[1:]
    source.sessions = source.sessions[1:]
    run()
    run()
    return 1


def let_days_pass(days: int) -> None:
    Listener.objects.exclude(unavailable_at=None).update(unavailable_at=timezone.now() - timedelta(days=days))


def personal_data(listener: int) -> set[str]:
    return set(Listener.objects.values_list(*PERSONAL).get(pk=listener))


def reject(resource: str, payload: dict[str, Any], **fields: Any) -> Rejection:
    run = IngestionRun.objects.order_by("-pk")[0]
    text = json.dumps(payload)
    return Rejection.objects.create(
        run=run, last_run=run, resource=resource, payload=text, fingerprint=text[:32], reason="x", **fields
    )


def test_personal_data_of_a_listener_who_left_the_source_is_erased_after_30_days(
    erased_at_source: int,
) -> None:
    kept = reject("users", {"id": 2, "email": "two@example.org"})
    reject("users", {"id": "1", "email": "one@example.org"}, resolved_at=timezone.now())
    let_days_pass(29)
    delete_expired()
    before = personal_data(erased_at_source)
    let_days_pass(30)

    erased = delete_expired()["erased_listeners"]

    assert before != {""}
    assert erased == 1
    assert personal_data(erased_at_source) == {""}
    assert "" not in personal_data(2)
    assert list(Rejection.objects.all()) == [kept]
    assert ListeningHistory.objects.filter(user=erased_at_source).count() == 1
    assert delete_expired()["erased_listeners"] == 0


def test_nothing_is_erased_with_the_setting_0(erased_at_source: int, settings: Any) -> None:
    settings.FORGET_LISTENERS_DAYS = 0
    let_days_pass(3_000)

    delete_expired()

    assert personal_data(erased_at_source) != {""}


def test_a_listener_who_comes_back_has_personal_data_again(
    erased_at_source: int, run: Run, source: ListSource
) -> None:
    let_days_pass(31)
    delete_expired()
    source.users = [make_user(1), *source.users]

    run()

    assert personal_data(erased_at_source) != {""}
    assert Listener.objects.get(pk=1).unavailable_at is None


def test_forgetlistener_deletes_the_listener_with_sessions_feedback_and_rejections(
    erased_at_source: int,
) -> None:
    Feedback.objects.create(
        listener_id=1, song_id=1, kind="like", at=timezone.now(), received_at=timezone.now()
    )
    reject("users", {"id": 1, "email": "one@example.org"})
    reject("listening_history", {"user_id": 1, "items": [1]})
    kept = reject("listening_history", {"user_id": 11, "items": [1]})
    said = StringIO()

    call_command("forgetlistener", "1", stdout=said)

    assert not Listener.objects.filter(pk=1).exists()
    assert set(ListeningHistory.objects.values_list("user_id", flat=True)) == set(range(2, 11))
    assert list(Rejection.objects.all()) == [kept]
    assert not Feedback.objects.exists()
    assert "Listener 1 was deleted with everything about them" in said.getvalue()


def test_forgetlistener_says_that_the_source_still_sends_the_listener(erased_at_source: int) -> None:
    warnings = StringIO()

    call_command("forgetlistener", "2", stdout=StringIO(), stderr=warnings)

    assert "the next run imports them again" in warnings.getvalue()


def test_forgetlistener_deletes_nothing_if_one_id_is_unknown() -> None:
    make_finished_run(0)

    with pytest.raises(CommandError, match="No listener has the ID 99"):
        call_command("forgetlistener", "99")


def test_forgetlistener_does_not_delete_during_a_run(erased_at_source: int) -> None:
    start_run(trigger="command")

    with pytest.raises(CommandError, match="holds the lock") as refused:
        call_command("forgetlistener", "1", stdout=StringIO())

    assert refused.value.returncode == 3
    assert Listener.objects.filter(pk=1).exists()
