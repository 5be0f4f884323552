"""The page of one cluster: reached from the map, with its songs, feedback and earlier versions."""

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
