"""The pages of a cluster and of songs, reached from the models page."""

from typing import Any

import numpy as np
import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone, translation

from ingestion.models import Listener, Song
from recommender.dashboard.charts import map_plot
from recommender.engine.sampling.candidate_codec import CandidateArrays, encode_candidates
from recommender.models import CandidateList, Cluster, ModelVersion
from recommender.serving.list_limits import ServingOptions
from tests.support.builders.experiments import make_version
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


def test_similar_listeners_have_similar_affinities_and_the_cluster_names_its_share_of_listeners(
    options: ServingOptions, settings: Any, client: Client, django_user_model: type[User]
) -> None:
    settings.MODEL_STORAGE = options.storage
    client.force_login(django_user_model.objects.create_superuser("ada"))
    version = Cluster.objects.order_by("-version_id")[0].version
    first, second = Cluster.objects.filter(version=version).order_by("number")[:2]
    listeners = list(Listener.objects.order_by("pk")[:4])
    CandidateList.objects.all().delete()
    for listener, share in zip(listeners, (0.9, 0.1, 0.8, 0.6), strict=True):
        store_affinities(listener, version, {first.number: share, second.number: 1 - share})

    page = client.get(reverse("listeners"), {"listener": listeners[0].pk})
    cluster = client.get(reverse("cluster", args=[first.number])).content.decode()

    assert [row[0] for row in page.context["similar"]] == [listeners[place].pk for place in (2, 3, 1)]
    assert page.context["taste"][0] == (first.number, first.shown_name, "90\u202f%")
    assert listeners[2].email not in page.content.decode()
    assert "of 4 listeners" in cluster
    assert client.get(reverse("listeners"), {"listener": "9" * 30}).status_code == 200


def store_affinities(listener: Listener, version: ModelVersion, affinities: dict[int, float]) -> None:
    ids, floats = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
    clusters = np.zeros(0, dtype=np.int32)
    encoded = encode_candidates(
        CandidateArrays(ids, floats, clusters, clusters, np.zeros(0, dtype=np.uint8), affinities)
    )
    CandidateList.objects.create(
        listener=listener, version=version, made_at=timezone.now(), candidates=encoded
    )


def test_tables_of_clusters_have_names_and_the_order_of_the_reader_s_language(
    client: Client, django_user_model: type[User]
) -> None:
    client.force_login(django_user_model.objects.create_superuser("ada"))
    version = make_version("2026w60.1")
    for number, name in enumerate(("Calm", "Cheerful", "Danceable"), 1):
        facts = {"moods": [name.lower()], "map": [number, 1], "family": {"id": number, "name": name}}
        version.clusters.create(number=number, position=number, name=name, size=10 - number, facts=facts)

    french = {"accept-language": "fr"}
    english_map = map_plot(version)
    with translation.override("fr"):
        french_map = map_plot(version)
    admin_page = client.get(
        reverse("admin:recommender_modelversion_change", args=[version.pk]), headers=french
    ).content.decode()

    assert [row[-1] for row in english_map.rows[1:]] == ["Calm", "Cheerful", "Danceable"]
    assert [row[-1] for row in french_map.rows[1:]] == ["Calme", "Dansant", "Joyeux"]
    assert '<th scope="row">Dansant</th>' in admin_page
    assert '<th scope="row">Danceable</th>' not in admin_page
