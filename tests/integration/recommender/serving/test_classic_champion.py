"""A classic champion answers everything that a mix answers, and either can replace the other."""

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import transaction

from ingestion.models import Song
from recommender import listener_profiles
from recommender.engine.algorithms.classic import ClassicModel
from recommender.engine.sampling.candidate_codec import decode_candidates
from recommender.models import ModelVersion, ServedList
from recommender.registry import model_loader
from recommender.serving import recommendations
from recommender.serving.candidates import candidate_cache
from recommender.serving.list_limits import ServingOptions
from recommender.serving.reasons.explanations import explain_scores, serialize_list
from recommender.training.train import TrainingOptions, retrain
from tests.support.builders.api import ApiCaller, make_api_caller
from tests.support.builders.recommendations import (
    LISTENER,
    RECOMMENDED_AT,
    forget_lists,
    make_new_listener,
    played_songs,
    recommend_list,
    record_feedback,
    song_ids,
)
from tests.support.builders.small_world import fill_tables, small_world
from tests.support.builders.trained_model import train_champion
from tests.support.project import Project

pytestmark = [pytest.mark.django_db, pytest.mark.slow]


@pytest.fixture(scope="module")
def trained_classic(
    django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A mix that was champion, and a classic version promoted over it."""
    folder = tmp_path_factory.mktemp("models")
    with django_db_blocker.unblock(), transaction.atomic():
        fill_tables(small_world())
        train_champion(folder)
        run = retrain(TrainingOptions(storage=folder, method="classic", promote=True))
        assert run.version is not None, run.error
        yield folder
        transaction.set_rollback(True)


@pytest.fixture
def options(trained_classic: Path, db: None, settings: Any) -> ServingOptions:
    settings.MODEL_STORAGE = trained_classic
    return ServingOptions(trained_classic)


@pytest.fixture
def caller(options: ServingOptions) -> ApiCaller:
    return make_api_caller()


@pytest.fixture
def model(options: ServingOptions) -> model_loader.ServingModel:
    loaded = model_loader.current_model(options.storage)
    assert loaded.degraded is None
    assert loaded.model is not None
    return loaded.model


def champion_row() -> ModelVersion:
    return ModelVersion.objects.get(role="champion")


def test_a_list_has_twenty_new_songs_and_at_most_two_by_one_artist(options: ServingOptions) -> None:
    served = recommend_list(options)

    artists = Counter(Song.objects.filter(pk__in=song_ids(served)).values_list("artist", flat=True))
    assert len(set(song_ids(served))) == 20
    assert not played_songs() & set(song_ids(served))
    assert max(artists.values()) <= 2
    assert (served.arm, served.stale) == ("champion", False)
    assert served.version is not None
    assert (served.version.method, served.version) == ("classic", champion_row())


def test_the_first_picks_propensity_is_its_clusters_affinity(options: ServingOptions) -> None:
    shares = {
        row.cluster_id: row.affinity
        for row in recommendations.listener_affinities(LISTENER, options=options, now=RECOMMENDED_AT)
    }
    on_shelf = set(
        decode_candidates(bytes(recommend_list(options).candidate_list.candidates)).clusters.tolist()
    )
    total = sum(shares.get(cluster, 0) for cluster in on_shelf)

    firsts = [recommend_list(options, n=1, seed=str(seed)).items[0] for seed in range(40)]

    floor = 0.02 / len(on_shelf)
    for item in firsts:
        share = shares.get(item["cluster"], 0) / total
        assert item["propensity"] == pytest.approx(0.98 * share + floor, abs=0.005)
    assert len({item["cluster"] for item in firsts}) > 1


def test_lists_follow_the_affinities_over_many_draws(options: ServingOptions) -> None:
    shares = {
        row.cluster_id: row.affinity
        for row in recommendations.listener_affinities(LISTENER, options=options, now=RECOMMENDED_AT)
    }

    drawn = Counter(recommend_list(options, n=1, seed=str(seed)).items[0]["cluster"] for seed in range(200))

    dearest = max(shares, key=lambda cluster: shares[cluster])
    assert drawn.most_common(1)[0][0] == dearest
    assert drawn[dearest] / 200 == pytest.approx(shares[dearest], abs=0.12)


def test_at_discovery_zero_the_list_keeps_the_order_of_the_candidates(options: ServingOptions) -> None:
    first = recommend_list(options, discovery=0)
    forget_lists()
    again = recommend_list(options, discovery=0)

    assert first.items == again.items
    assert {item["propensity"] for item in first.items} == {1.0}


def test_more_discovery_gives_more_unfamiliar_artists(options: ServingOptions) -> None:
    shares = [
        sum(
            serialize_list(recommend_list(options, discovery=wanted, seed=str(seed)))["discovery"]["given"]
            for seed in range(5)
        )
        for wanted in (0.0, 0.3, 0.9)
    ]

    assert shares[0] < shares[1] < shares[2]


@pytest.mark.parametrize("discovery", [0.0, 0.1, 0.3, 0.9, 1.0])
def test_a_list_and_its_pages_replay_bit_for_bit(options: ServingOptions, discovery: float) -> None:
    served = recommendations.continue_list(
        recommend_list(options, discovery=discovery).pk, upto=45, options=options
    )

    replayed = recommendations.replay_list(served.pk)

    assert replayed.same
    assert len(replayed.drawn) == 45
    assert len(set(song_ids(served))) == 45


def test_prepared_listeners_get_what_live_scoring_gives_them(
    options: ServingOptions, model: model_loader.ServingModel
) -> None:
    live = recommend_list(options, seed="a")
    candidate_cache.prepare_lists([LISTENER], model_loader.current_model(options.storage), RECOMMENDED_AT)
    forget_lists()

    prepared = recommend_list(options, seed="a")

    assert live.candidate_list.live
    assert not prepared.candidate_list.live
    assert prepared.items == live.items


def test_a_dislike_and_skips_change_the_next_list(options: ServingOptions) -> None:
    first = recommend_list(options, n=40, seed="a")
    cluster = Counter(item["cluster"] for item in first.items).most_common(1)[0][0]
    gone, *skipped = [item["song"] for item in first.items if item["cluster"] == cluster]
    before = recommendations.listener_affinities(LISTENER, options=options, now=RECOMMENDED_AT)

    record_feedback("dislike", gone)
    for song in skipped:
        record_feedback("skip", song)

    after = recommendations.listener_affinities(LISTENER, options=options, now=RECOMMENDED_AT)
    second = recommend_list(options, n=100, seed="a")
    shares = [{row.cluster_id: row.affinity for row in rows} for rows in (before, after)]
    assert shares[1].get(cluster, 0) < shares[0][cluster]
    assert not {gone, *skipped} & set(song_ids(second))
    assert recommendations.replay_list(first.pk).same


def test_at_a_cold_start_the_list_is_popular_in_the_listeners_genres_and_says_so(
    options: ServingOptions,
) -> None:
    listener = make_new_listener("Jazz")

    served = recommend_list(options, listener=listener, n=4, discovery=0)

    assert {item["reason"] for item in served.items} == {"Popular in jazz, one of your favourite genres"}
    assert (served.arm, served.version) == ("champion", champion_row())
    assert all(item["cluster"] is not None for item in served.items)
    assert recommendations.replay_list(served.pk).same


def test_the_next_song_prefers_the_cluster_of_the_one_before(
    options: ServingOptions, model: model_loader.ServingModel
) -> None:
    drawn = Counter(item["cluster"] for item in recommend_list(options, n=60).items)
    rarer = drawn.most_common()[-1][0]
    after = int(model.song_ids[model.scorer.labels == model.label_by_number[rarer]][0])

    given = [
        recommendations.next_song(LISTENER, after=after, options=options, now=RECOMMENDED_AT).items[0][
            "cluster"
        ]
        for _ in range(10)
    ]

    assert given.count(rarer) >= 5


def test_an_explanation_names_the_share_that_a_song_was_drawn_by(
    options: ServingOptions, model: model_loader.ServingModel, capsys: pytest.CaptureFixture[str]
) -> None:
    served = recommend_list(options)
    known = listener_profiles.read_profiles([LISTENER], RECOMMENDED_AT)[LISTENER]

    terms = explain_scores(known, model, song_ids(served))
    call_command("recommend", str(LISTENER), "-n", "5", "--explain")

    lines = capsys.readouterr().out.splitlines()
    best = max(served.items, key=lambda item: item["affinity"])
    assert terms[best["song"]] == {"affinity": pytest.approx(best["affinity"], abs=0.001)}
    assert any("█" in line for line in lines)
    assert any(line.startswith("      score 0.") and "affinity +0." in line for line in lines)


def test_the_api_answers_with_a_classic_champion(caller: ApiCaller, model: model_loader.ServingModel) -> None:
    song = int(model.song_ids[0])

    lists = caller.get(f"/users/{LISTENER}/recommendations/?n=5").json()
    similar = caller.get(f"/songs/{song}/similar/?n=7").json()["results"]
    affinities = caller.get(f"/users/{LISTENER}/affinities/").json()["results"]
    clusters = caller.get("/clusters/").json()["results"]
    cluster = clusters[0]
    members = caller.get(f"/songs/?cluster={cluster['id']}&page_size=500").json()["results"]

    assert lists["model_version"] == champion_row().label
    assert len(lists["items"]) == 5
    assert len(caller.client.get(lists["next"], headers=caller.headers).json()["items"]) == 5
    assert len(caller.get(f"/users/{LISTENER}/next/?after={song}").json()["items"]) == 1
    assert [row["rank"] for row in similar] == [1, 2, 3, 4, 5, 6, 7]
    assert [row["score"] for row in similar] == sorted((row["score"] for row in similar), reverse=True)
    assert song not in [row["song"]["id"] for row in similar]
    assert sum(row["affinity"] for row in affinities) == pytest.approx(1, abs=0.01)
    assert len(members) == cluster["size"]
    assert caller.client.get("/health/ready/").json()["status"] == "ok"


def test_staff_see_a_listener_of_a_classic_champion(options: ServingOptions, admin_client: Any) -> None:
    page = admin_client.get("/listen/", {"user": LISTENER})

    dearest = recommendations.listener_affinities(LISTENER, options=options)[0]
    assert page.status_code == 200
    assert dearest.name in unescape(page.content.decode())


def test_every_active_listener_is_prepared_for(
    options: ServingOptions, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("preparelists", "--all", "--json")

    made = json.loads(capsys.readouterr().out)
    assert made["lists"] > 40
    assert made["model_version"] == champion_row().label


def test_after_a_rollback_to_a_mix_the_lists_of_both_replay(
    options: ServingOptions, tmp_path: Path, settings: Any
) -> None:
    storage = Path(shutil.copytree(options.storage, tmp_path / "models"))
    settings.MODEL_STORAGE = storage
    keeper = model_loader.ModelLoader(storage)
    there = ServingOptions(storage)
    by_classic = recommend_list(there)
    classic = keeper.current_model().model

    call_command("rollback", "--reason", "the tests want the mix")

    mix = model_loader.ModelLoader(storage).current_model().model
    longer = recommendations.continue_list(by_classic.pk, upto=40, options=there)
    assert classic is not None
    assert isinstance(classic.scorer, ClassicModel)
    assert mix is not None
    assert mix.version.method == "mix"
    assert ModelVersion.objects.get(method="classic").role == "withdrawn"
    assert song_ids(longer)[:20] == song_ids(by_classic)
    assert recommendations.replay_list(by_classic.pk).same


def test_if_a_classic_champion_is_damaged_the_mix_before_it_serves(
    options: ServingOptions, tmp_path: Path
) -> None:
    storage = Path(shutil.copytree(options.storage, tmp_path / "models"))
    (storage / champion_row().label / "points.npy").unlink()

    served = recommend_list(ServingOptions(storage))

    assert served.arm == "fallback"
    assert served.version is not None
    assert served.version.method == "mix"
    assert len(served.items) == 20


def test_arrays_stay_in_the_files_and_read_only(model: model_loader.ServingModel) -> None:
    assert isinstance(model.scorer, ClassicModel)
    arrays = model.scorer.arrays().values()

    assert not any(array.flags.writeable for array in arrays if array.size)


ASK = """
import json
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from recommender.registry import model_loader
from recommender.serving import recommendations
from recommender.engine.sampling.candidate_codec import decode_candidates
from recommender.models import ModelVersion, ServedList, CandidateList
from tests.support.builders.api import make_api_caller
from tests.support.builders.small_world import fill_tables, small_world

settings.ALLOWED_HOSTS = ["testserver"]
fill_tables(small_world(songs=120, listeners=25, days=15))
call_command("retrain", "--json")
call_command("retrain", "--method", "classic", "--promote", "--json")
caller = make_api_caller()
user = caller.get("/users/?page_size=1").json()["results"][0]["id"]

def listed():
    first = caller.get(f"/users/{user}/recommendations/?n=5").json()
    second = caller.client.get(first["next"], headers=caller.headers).json()
    assert first["arm"] == second["arm"] == "champion", first
    return first, len(first["items"] + second["items"])

by_classic, length = listed()
method = ModelVersion.objects.get(label=by_classic["model_version"]).method
song = caller.get("/songs/?page_size=1").json()["results"][0]["id"]
similar = caller.get(f"/songs/{song}/similar/?n=7").json()["results"]
call_command("rollback", "--reason", "back")
# By itself it would look within five seconds.
model_loader.loader_for(settings.MODEL_STORAGE).reload()
by_mix, _ = listed()
call_command("recommend", "--replay", by_classic["recommendation_id"])
call_command("recommend", "--replay", by_mix["recommendation_id"])
print(json.dumps({
    "vendor": connection.vendor,
    "methods": [method, ModelVersion.objects.get(label=by_mix["model_version"]).method],
    "length": length,
    "similar": [row["song"]["id"] for row in similar],
    "candidates": decode_candidates(bytes(CandidateList.objects.earliest("pk").candidates)).songs.tolist(),
    "roles": sorted(ModelVersion.objects.values_list("method", "role")),
    "same": [recommendations.replay_list(pk).same for pk in ServedList.objects.values_list("pk", flat=True)],
}))
"""


@pytest.mark.slow
def test_both_databases_serve_the_same_lists_of_a_classic_champion(
    sqlite_project: Project, postgres_project: Project
) -> None:
    found = [
        json.loads(project.shell(ASK).splitlines()[-1]) for project in (sqlite_project, postgres_project)
    ]

    sqlite, postgres = found
    assert [one.pop("vendor") for one in found] == ["sqlite", "postgresql"]
    assert sqlite == postgres
    assert sqlite["methods"] == ["classic", "mix"]
    assert sqlite["roles"] == [["classic", "withdrawn"], ["mix", "champion"]]
    assert (sqlite["length"], len(sqlite["similar"]), set(sqlite["same"])) == (10, 7, {True})
    assert len(sqlite["candidates"]) > 50


def test_lists_are_stored_with_the_version_that_drew_them(options: ServingOptions) -> None:
    recommend_list(options)

    assert ServedList.objects.get().version == champion_row()
