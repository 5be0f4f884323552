"""The pages of a cluster and of songs, reached from the models page."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from ingestion.models import Song
from recommender.models import Cluster
from recommender.serving.list_limits import ServingOptions
from tests.support.builders.recommendations import record_feedback

pytestmark = pytest.mark.django_db


def test_the_map_leads_to_a_page_with_songs_feedback_and_earlier_versions(
    options: ServingOptions, settings: Any, client: Client, django_user_model: type[User]
) -> None:
    settings.MODEL_STORAGE = options.storage
    client.force_login(django_user_model.objects.create_superuser("ada"))
    cluster = Cluster.objects.order_by("-size")[0]
    example = Song.objects.get(pk=cluster.facts["examples"][0])
    record_feedback("like", example.pk)
    address = reverse("cluster", args=[cluster.number])

    models = client.get(reverse("models")).content.decode()
    page = client.get(address).content.decode()

    assert f'href="{address}"' in models
    assert example.name in page
    assert f"{cluster.version.label}</th>" in page
    assert "Feedback: Like" in page
    assert client.get(reverse("cluster", args=[999_999])).status_code == 404


def test_staff_search_a_song_and_see_popular_latest_and_similar_ones(
    options: ServingOptions, settings: Any, client: Client, django_user_model: type[User]
) -> None:
    settings.MODEL_STORAGE = options.storage
    client.force_login(django_user_model.objects.create_superuser("ada"))
    song = Song.objects.get(pk=Cluster.objects.order_by("-size")[0].facts["examples"][0])

    searched = client.get(reverse("songs"), {"q": song.name})
    page = client.get(reverse("songs"), {"song": song.pk})
    wrong = client.get(reverse("songs"), {"song": "9" * 30, "q": "no such song"})

    assert f'href="?song={song.pk}"' in searched.content.decode()
    assert len(page.context["similar"]) == len(page.context["latest"]) == 15
    assert page.context["similar"][0]["song"]["id"] != song.pk
    assert wrong.status_code == 200
