"""The command `recommend`: the list, its explanation, and the replay of a served list."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from recommender import listener_profiles
from recommender.models import CandidateList, ModelVersion, ServedList
from recommender.registry import model_loader
from recommender.serving.list_limits import ServingOptions
from recommender.serving.reasons.explanations import explain_scores
from tests.support.builders.recommendations import (
    LISTENER,
    RECOMMENDED_AT,
    make_new_listener,
    recommend_list,
    song_ids,
)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _stored_there(options: ServingOptions, settings: Any) -> None:
    settings.MODEL_STORAGE = options.storage


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    call_command("recommend", *arguments)
    return capsys.readouterr().out


def test_it_prints_a_row_for_each_song_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    lines = told(capsys, str(LISTENER), "-n", "5", "--seed", "a", "--serve").splitlines()

    served = ServedList.objects.get()
    label = ModelVersion.objects.get(role="champion").label
    assert lines[0].startswith(f"5 songs for user {LISTENER} by {label} (champion), discovery 0.3 asked, ")
    assert lines[2].split() == ["song", "artist", "cluster", "probability", "reason"]
    assert [line.split()[0] for line in lines[3:8]] == ["1", "2", "3", "4", "5"]
    assert all(item["reason"] in line for item, line in zip(served.items, lines[3:8], strict=True))
    assert lines[-1] == f"Draw it again: python manage.py recommend --replay {served.pk}"


def test_a_look_stores_nothing_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    CandidateList.objects.all().delete()

    lines = told(capsys, str(LISTENER), "-n", "5").splitlines()
    facts = json.loads(told(capsys, str(LISTENER), "--json"))

    assert lines[-1] == "A preview: nothing was stored. To serve a list: add --serve"
    assert facts["stored"] is False
    assert not ServedList.objects.exists()
    assert not CandidateList.objects.exists()


def test_a_served_list_says_that_the_command_asked_for_it(capsys: pytest.CaptureFixture[str]) -> None:
    facts = json.loads(told(capsys, str(LISTENER), "--serve", "--json"))

    assert ServedList.objects.get(pk=facts["recommendation_id"]).asked_by == "command recommend"


def test_json_output_has_the_fields_of_the_api(capsys: pytest.CaptureFixture[str]) -> None:
    facts = json.loads(told(capsys, str(LISTENER), "-n", "3", "--discovery", "0", "--json"))

    assert facts["user_id"] == LISTENER
    assert facts["discovery"]["asked"] == 0
    assert [item["rank"] for item in facts["items"]] == [1, 2, 3]


def test_explain_prints_affinities_as_bars_and_the_terms_of_each_score(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = told(capsys, str(LISTENER), "-n", "3", "--explain").splitlines()

    bars = [line for line in lines if "█" in line]
    scores = [line for line in lines if line.startswith("      score ")]
    assert 2 <= len(bars) <= 10
    assert bars[0].count("█") >= bars[-1].count("█")
    assert "%" in bars[0]
    assert "plays" in bars[0]
    assert len(scores) == 3
    assert all(" = " in line and "+" in line for line in scores)


def test_the_terms_add_up_to_the_score_of_the_ranking(options: ServingOptions) -> None:
    model = model_loader.current_model(options.storage).model
    assert model is not None
    for listener in (LISTENER, make_new_listener("Jazz")):
        known = listener_profiles.read_profiles([listener], RECOMMENDED_AT)[listener]
        ranked = model.scorer.candidates(known.model_profile(model.song_ids), n=10)

        terms = explain_scores(known, model, model.song_ids[ranked.songs].tolist())

        sums = [sum(terms[song].values()) for song in model.song_ids[ranked.songs].tolist()]
        assert sums == pytest.approx(ranked.scores.tolist(), abs=0.08)


def test_replay_draws_the_same_list_and_detects_a_changed_one(
    options: ServingOptions, capsys: pytest.CaptureFixture[str]
) -> None:
    served = recommend_list(options)

    same = told(capsys, "--replay", str(served.pk))
    facts = json.loads(told(capsys, "--replay", str(served.pk), "--json"))
    served.items[0]["song"] += 1
    served.save()
    with pytest.raises(SystemExit) as ended:
        call_command("recommend", "--replay", str(served.pk))

    assert same.splitlines()[-1] == "The same 20 songs with the same probabilities, to the last bit."
    assert facts["same"]
    assert [pick["song"] for pick in facts["drawn"]][1:] == song_ids(served)[1:]
    assert ended.value.code == 1
    assert "This list differs from the stored one." in capsys.readouterr().out


def test_excluded_songs_are_left_out(options: ServingOptions, capsys: pytest.CaptureFixture[str]) -> None:
    first = song_ids(recommend_list(options, discovery=0))[:2]
    named = ",".join(map(str, first))

    facts = json.loads(told(capsys, str(LISTENER), "--discovery", "0", "--exclude", named, "--json"))

    assert not set(first) & {item["song"]["id"] for item in facts["items"]}


def test_without_a_model_it_serves_popular_songs_and_says_what_to_do(
    tmp_path: Path, settings: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.MODEL_STORAGE = tmp_path
    ModelVersion.objects.update(role="candidate")

    call_command("recommend", str(LISTENER), "-n", "3", "--explain")

    printed = capsys.readouterr()
    assert printed.err == "There is no model yet. Train one: python manage.py retrain\n"
    assert "by popularity, because there is no model (fallback)" in printed.out
    assert printed.out.count("Popular") == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["999999999"], "There is no user 999999999."),
        ([], "Name a user: python manage.py recommend USER_ID"),
        (["--replay", "00000000-0000-0000-0000-000000000001"], "There is no list 00000000-"),
        (["1", "--discovery", "2"], "2 is not a number from 0"),
        (["1", "--discovery", "0_1"], "0_1 is not a number from 0"),
        ([str(2**63)], f"There is no user {2**63}."),
        (["1", "-n", "0"], "0 is not a whole number from 1 to 400"),
        (["1", "--exclude", "a"], "a is not a list of song ids"),
    ],
)
def test_wrong_arguments_are_explained(arguments: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        call_command("recommend", *arguments)
