"""Numbers in the admin have units, and pages of a listener and of a song lead to each other."""

import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from ingestion.models import Song, TaskUsage
from recommender.models import CandidateList, Feedback, ServedList
from tests.support.builders.experiments import make_listeners_and_songs

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("ada", "ada@example.org", "x"))
    return client


def text_of(staff: Client, url: str) -> str:
    answer = staff.get(url)
    assert answer.status_code == 200
    bare = re.sub(r"<(script|style).*?</\\1>|<[^>]+>", " ", answer.content.decode(), flags=re.DOTALL)
    return " ".join(unescape(bare).split())


def serve(listener: int, **fields: Any) -> ServedList:
    now = timezone.now()
    made_from = CandidateList.objects.create(listener_id=listener, made_at=now, candidates=b"")
    return ServedList.objects.create(
        listener_id=listener, candidate_list=made_from, arm="fallback", generated_at=now, seed="s",
        temperature=0.1, pages=[], items=[], milliseconds=4.0, **fields,
    )  # fmt: skip


def test_stored_numbers_have_units_and_no_noise(staff: Client) -> None:
    make_listeners_and_songs()
    served = serve(1, discovery=0.09999999999999999)
    usage = TaskUsage.objects.create(
        task="t", task_id="x", started_at=timezone.now(), succeeded=True, seconds=0.021, cpu_seconds=75.0,
        peak_memory=150_000_000,
    )  # fmt: skip

    shown = text_of(staff, reverse("admin:recommender_servedlist_change", args=[served.pk]))
    listed = text_of(staff, reverse("admin:recommender_servedlist_changelist"))
    cost = text_of(staff, reverse("admin:ingestion_taskusage_change", args=[usage.pk]))

    for text in (shown, listed):
        assert "10 %" in text
        assert "0.0999" not in text
    assert "4 ms" in shown
    for words in ("21 ms", "1 min 15 s", "150 MB"):
        assert words in cost


def test_a_song_has_its_length_and_short_numbers_and_a_dash_for_none(staff: Client) -> None:
    make_listeners_and_songs()
    Song.objects.filter(pk=10).update(
        duration=timedelta(seconds=200, microseconds=7),
        audio_features={"energy": 0.09999999999999999, "key": 7},
        release_year=None,
    )

    page = staff.get(reverse("admin:ingestion_song_change", args=[10])).content.decode()
    text = text_of(staff, reverse("admin:ingestion_song_change", args=[10]))

    assert "3:20" in text
    assert "0.0999" not in page
    assert "0.1" in text
    assert "Release year" in text
    assert re.search(r"Release year\W+-", text)


def test_a_listener_leads_to_sessions_lists_and_feedback_of_this_listener(staff: Client) -> None:
    make_listeners_and_songs()
    mine, other = serve(1, discovery=0.3), serve(2, discovery=0.3)
    Feedback.objects.create(
        event_id="e", listener_id=1, song_id=10, kind="like", at=timezone.now(), received_at=timezone.now()
    )

    page = unescape(staff.get(reverse("admin:ingestion_listener_change", args=[1])).content.decode())
    links = re.findall(r'class="mm-link" href="(/[^"]*(?:__id__exact|user|listener)=1)"', page)
    lists = staff.get(next(link for link in links if "servedlist" in link)).content.decode()

    assert len(links) == 5
    assert [staff.get(link).status_code for link in links] == [200] * 5
    assert str(mine.pk) in lists
    assert str(other.pk) not in lists
