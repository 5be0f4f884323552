"""Names by staff: clusters are renamed, pinned and vetoed, genres get aliases, words are kept out."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import translation

from ingestion.models import Song
from recommender.models import Cluster, ClusterNameRule, GenreAlias, NameWord, Promotion, naming, sql
from recommender.models.naming import read_name_words
from recommender.registry import model_loader
from recommender.serving.list_limits import ServingOptions
from recommender.serving.reasons.reasons import cluster_reason
from recommender.training import clusters, train
from recommender.training.train import TrainingOptions, retrain
from tests.support.builders.api import make_api_caller
from tests.support.builders.recommendations import LISTENER, make_new_listener, recommend_list

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("ada", "ada@example.org", "x"))
    return client


def add(staff: Client, model: str, **fields: Any) -> int:
    """The status of the answer: 302 if the row was saved, 200 if the form has errors."""
    return int(staff.post(reverse(f"admin:recommender_{model}_add"), fields).status_code)


def name_of(number: int) -> str:
    return Cluster.objects.filter(number=number).latest("version").name


def largest() -> Cluster:
    return Cluster.objects.order_by("-size")[0]


def test_a_cluster_is_renamed_at_once_and_in_later_versions(staff: Client, options: ServingOptions) -> None:
    cluster = largest()
    serving = model_loader.ModelLoader(options.storage)
    before = serving.current_model()

    status = add(staff, "clusternamerule", number=cluster.number, rule="rename", name="Late nights")
    after = serving.reload()
    run = retrain(TrainingOptions(storage=options.storage, seed=9))

    assert status == 302
    assert before.model is not None
    assert after.model is not None
    assert before.model.cluster_names[cluster.number] == cluster.name
    assert after.model.cluster_names[cluster.number] == "Late nights"
    assert run.version is not None
    assert run.version.clusters.get(number=cluster.number).name == "Late nights"


def test_a_deleted_rule_gives_the_automatic_name_back(staff: Client, options: ServingOptions) -> None:
    cluster = largest()
    add(staff, "clusternamerule", number=cluster.number, rule="pin", name="Pinned")
    rule = ClusterNameRule.objects.get()

    shown = name_of(cluster.number)
    staff.post(reverse("admin:recommender_clusternamerule_delete", args=[rule.pk]), {"post": "yes"})

    assert shown == "Pinned"
    assert name_of(cluster.number) == cluster.name


def test_a_vetoed_name_is_not_shown_and_the_next_training_finds_another(
    staff: Client, options: ServingOptions
) -> None:
    cluster = largest()

    add(staff, "clusternamerule", number=cluster.number, rule="veto", name=cluster.name.upper()[:40])
    vetoed = Cluster.objects.get(pk=cluster.pk)
    run = retrain(TrainingOptions(storage=options.storage, seed=9))

    assert (vetoed.name, vetoed.shown_name) == ("", f"Cluster {cluster.number}")
    assert run.version is not None
    assert run.version.clusters.get(number=cluster.number).name not in {"", cluster.name}


def test_untelling_names_of_older_releases_are_not_shown(options: ServingOptions) -> None:
    cluster = largest()
    Cluster.objects.filter(pk=cluster.pk).update(name="Mixed (3)", facts={"genres": {}})

    model = model_loader.open_serving_model(cluster.version, options.storage)

    assert model.cluster_names[cluster.number] == f"Cluster {cluster.number}"


def test_a_pin_that_changes_nothing_is_shown_too(staff: Client, options: ServingOptions) -> None:
    cluster = largest()
    Cluster.objects.filter(pk=cluster.pk).update(name="Mixed (3)", facts={"genres": {}})

    add(staff, "clusternamerule", number=cluster.number, rule="pin", name="Mixed (3)")

    model = model_loader.open_serving_model(cluster.version, options.storage)
    assert model.cluster_names[cluster.number] == "Mixed (3)"


def test_a_cluster_has_one_name_by_staff_and_a_name_is_needed(staff: Client) -> None:
    assert add(staff, "clusternamerule", number=7, rule="rename", name="One") == 302
    assert add(staff, "clusternamerule", number=7, rule="pin", name="Two") == 200
    assert add(staff, "clusternamerule", number=8, rule="rename", name="") == 200
    assert add(staff, "clusternamerule", number=8, rule="veto", name="") == 302


def test_songs_are_found_by_every_spelling_and_alias_of_a_genre(staff: Client, trained: Any) -> None:
    songs = list(Song.objects.order_by("pk")[:4])
    for song, genres in zip(songs, ["Zydeco Hop", "zydeco-hop; Rock", "Bayou", "Zydeco"], strict=True):
        song.genres = genres
    Song.objects.bulk_update(songs, ["genres"])
    caller = make_api_caller()

    before = [row["id"] for row in caller.get("/songs/?genre=ZYDECOHOP").json()["results"]]
    saved = add(staff, "genrealias", alias="bayou", genre="Zydeco Hop")
    again = add(staff, "genrealias", alias="BAYOU ", genre="Rock")
    after = [row["id"] for row in caller.get("/songs/?genre=zydeco hop").json()["results"]]

    assert (saved, again, GenreAlias.objects.count()) == (302, 200, 1)
    assert before == [songs[0].pk, songs[1].pk]
    assert after == [songs[0].pk, songs[1].pk, songs[2].pk]


def test_words_of_staff_extend_and_restrict_the_word_list(staff: Client) -> None:
    add(staff, "nameword", word="Polka", allowed="")
    add(staff, "nameword", word="love", allowed="on")

    words = read_name_words()

    assert NameWord.objects.count() == 2
    assert not words.allows("polka")
    assert not words.allows("Polka rock")
    assert words.allows("Love")
    assert words.allows("rock")


def reasons_for(options: ServingOptions, listener: int) -> str:
    """All reasons of a list, after the caches of this process have expired."""
    model_loader.loader_for(options.storage).reload()
    naming._cache.known = None
    served = recommend_list(options, listener=listener, n=40)
    return "; ".join(item["reason"] for item in served.items).casefold()


def test_a_blocked_word_is_in_no_reason_until_it_is_allowed(staff: Client, options: ServingOptions) -> None:
    newcomer = make_new_listener("Electronic")

    before = [reasons_for(options, LISTENER), reasons_for(options, newcomer)]
    add(staff, "nameword", word="ELECTRONIC", allowed="")
    blocked = [reasons_for(options, LISTENER), reasons_for(options, newcomer)]
    names = [name.casefold() for name in Cluster.objects.values_list("name", flat=True)]
    change = reverse("admin:recommender_nameword_change", args=[NameWord.objects.get().pk])
    staff.post(change, {"word": "electronic", "allowed": "on"})
    after = [reasons_for(options, LISTENER), reasons_for(options, newcomer)]

    for listener, newcomer_reasons in (before, after):
        assert "from electronic" in listener
        assert "popular in electronic" in newcomer_reasons
    assert not any("electronic" in text for text in [*blocked, *names])


def test_a_word_blocked_during_a_training_is_in_none_of_its_names(
    options: ServingOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_names = clusters.summarize_clusters

    def block_after_reading(*args: Any) -> Any:
        summaries = read_names(*args)
        NameWord.objects.create(word="Electronic")
        assert any("electronic" in one.name.casefold() for one in summaries)
        return summaries

    monkeypatch.setattr(train, "summarize_clusters", block_after_reading)

    run = retrain(TrainingOptions(storage=options.storage, seed=9))

    assert run.version is not None
    names = [name.casefold() for name in run.version.clusters.values_list("name", flat=True)]
    assert len(names) > 1
    assert not any("electronic" in name for name in names)


def test_a_training_keeps_staff_who_save_a_name_waiting_at_the_end_of_its_transaction_only(
    options: ServingOptions,
) -> None:
    with CaptureQueriesContext(connection) as queries:
        retrain(TrainingOptions(storage=options.storage, seed=9, promote=True))

    statements = [query["sql"] for query in queries]
    [locked] = [place for place, text in enumerate(statements) if str(sql.NAMES_LOCK) in text]
    insert = f'INSERT INTO "{Promotion._meta.db_table}"'
    [promoted] = [place for place, text in enumerate(statements) if insert in text]
    assert promoted < locked


def test_a_blocked_word_leaves_the_names_of_style_families_too(
    staff: Client, options: ServingOptions
) -> None:
    cluster = largest()
    family = {"id": 3, "name": "Electronic, 1990s"}
    Cluster.objects.filter(pk=cluster.pk).update(facts={**cluster.facts, "family": family})

    add(staff, "nameword", word="electronic", allowed="")
    blocked = Cluster.objects.get(pk=cluster.pk).facts["family"]["name"]
    staff.post(
        reverse("admin:recommender_nameword_delete", args=[NameWord.objects.get().pk]), {"post": "yes"}
    )

    assert blocked == "Style 3"
    assert Cluster.objects.get(pk=cluster.pk).facts["family"]["name"] == "Electronic, 1990s"


def test_an_opinion_is_in_no_reason_unless_staff_allow_it(staff: Client, options: ServingOptions) -> None:
    songs = list(Song.objects.order_by("pk")[:30])
    for song in songs:
        song.genres = f"{song.genres}, seen live"
    Song.objects.bulk_update(songs, ["genres"])
    newcomer = make_new_listener("Seen Live")

    before = reasons_for(options, newcomer)
    add(staff, "nameword", word="seen-live", allowed="on")
    after = reasons_for(options, newcomer)

    assert "seen live" not in before
    assert "seen live, one of your favourite genres" in after


@pytest.mark.parametrize("rule", [ClusterNameRule.Rule.RENAME, ClusterNameRule.Rule.PIN])
def test_a_name_that_staff_chose_is_not_translated_in_reasons(rule: str) -> None:
    ClusterNameRule.objects.create(number=3, rule=rule, name="Kitchen and Sunday, calm")
    naming._cache.known = None
    with translation.override("fr"):
        chosen = cluster_reason("Kitchen and Sunday, calm", 0.3).sentence
        automatic = cluster_reason("Rock and Metal, calm", 0.3).sentence

    assert "Kitchen and Sunday, calm" in chosen
    assert "Rock et Metal, calme" in automatic
