"""Admin pages of versions, promotions, served lists, feedback and API keys, and the listener page."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client, RequestFactory
from django.urls import reverse

from ingestion.admin.base import ReadOnlyAdmin
from ingestion.admin.catalogue import ListeningHistoryAdmin
from ingestion.models import Listener, ListeningHistory
from recommender.admin.serving import FeedbackAdmin, ServedListAdmin
from recommender.models import ApiKey, CandidateList, Feedback, ModelVersion, Promotion, ServedList
from recommender.models.api_keys import default_scopes
from recommender.serving import recommendations
from recommender.serving.list_limits import ServingOptions
from recommender.serving.reasons.explanations import serialize_list
from recommender.training.train import TrainingOptions, retrain
from tests.support.builders.api import make_api_caller


@pytest.fixture
def staff(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("ada", "ada@example.org", "x"))
    return client


@pytest.fixture
def stored_model(options: ServingOptions, settings: Any) -> ServingOptions:
    """The settings point to the trained model."""
    settings.MODEL_STORAGE = options.storage
    return options


def listener() -> int:
    return ListeningHistory.objects.values_list("user_id", flat=True)[0]


def page(staff: Client, name: str, *arguments: Any) -> str:
    answer = staff.get(reverse(name, args=arguments))
    assert answer.status_code == 200
    return answer.content.decode()


@pytest.mark.slow
@pytest.mark.parametrize(
    "model", ["modelversion", "trainingrun", "promotion", "servedlist", "feedback", "apikey"]
)
def test_every_list_opens_empty_and_filled(staff: Client, stored_model: ServingOptions, model: str) -> None:
    recommendations.recommend(listener(), options=stored_model)

    filled = page(staff, f"admin:recommender_{model}_changelist")
    for rows in (Promotion, ServedList, CandidateList, Feedback):
        rows.objects.all().delete()
    ModelVersion.objects.all().delete()
    empty = page(staff, f"admin:recommender_{model}_changelist")

    assert "Traceback" not in filled + empty


def test_a_version_s_page_shows_its_metrics_beside_baselines_and_its_clusters(
    staff: Client, stored_model: ServingOptions
) -> None:
    version = ModelVersion.objects.get()
    largest = version.clusters.order_by("-size")[0]

    text = page(staff, "admin:recommender_modelversion_change", version.pk)

    for name in ("mix", "popularity", "random", "rp3beta"):
        assert name in text
    assert f"{version.metrics['mix']['ndcg']:.4f}" in text
    assert largest.name.replace("&", "&amp;") in text


def test_versions_are_compared_side_by_side(staff: Client, stored_model: ServingOptions) -> None:
    retrain(TrainingOptions(storage=stored_model.storage, seed=11))

    answer = staff.get(reverse("admin:recommender_modelversion_changelist") + "compare/")

    text = answer.content.decode()
    labels = list(ModelVersion.objects.values_list("label", flat=True))
    assert len(labels) == 2
    assert all(label in text for label in labels)
    assert "NDCG / popularity" in text


def test_any_two_versions_are_compared_on_what_both_were_measured_on(
    staff: Client, stored_model: ServingOptions
) -> None:
    first = ModelVersion.objects.get()
    second = retrain(TrainingOptions(storage=stored_model.storage, seed=11)).version
    assert second is not None
    root = reverse("admin:recommender_modelversion_changelist")

    from_the_version = staff.get(f"{root}{second.pk}/compare-with/")
    page = staff.get(from_the_version["Location"]).content.decode()
    same = staff.get(f"{root}compare/", {"first": first.label, "second": first.label}).content.decode()

    assert f"<h2>{second.label} and {first.label}</h2>" in page
    assert "On the same weeks and lists, neither version is clearly better." in page
    assert "Choose two different versions." in same


def test_staff_promote_with_a_reason_and_roll_back(staff: Client, stored_model: ServingOptions) -> None:
    first = ModelVersion.objects.get()
    second = retrain(TrainingOptions(storage=stored_model.storage, seed=11)).version
    assert second is not None
    root = reverse("admin:recommender_modelversion_changelist")

    asked = staff.get(f"{root}{second.pk}/make-champion/")
    without = staff.post(f"{root}{second.pk}/make-champion/", {"reason": ""})
    staff.post(f"{root}{second.pk}/make-champion/", {"reason": "better by ear"})
    promoted = Promotion.objects.first()
    asked_back = staff.get(f"{root}roll-back/").content.decode()
    fields = dict(re.findall(r'<input type="hidden" name="(champion)" value="([^"]+)"', asked_back))
    staff.post(f"{root}roll-back/", {"reason": "worse by ear", **fields})
    clicked_again = staff.post(f"{root}roll-back/", {"reason": "worse by ear", **fields}, follow=True)
    french = {"accept-language": "fr"}
    in_french = staff.post(
        f"{root}roll-back/", {"reason": "worse by ear", **fields}, follow=True, headers=french
    )

    assert "Reason" in asked.content.decode()
    assert "This field is required" in without.content.decode()
    assert promoted is not None
    assert (promoted.promoted, promoted.reason, promoted.by) == (second, "better by ear", "ada")
    assert dict(ModelVersion.objects.values_list("label", "role")) == {
        first.label: "champion",
        second.label: "withdrawn",
    }
    assert f"The champion is now {first.label}, no longer {second.label}." in clicked_again.content.decode()
    refusal = f"Le champion est maintenant {first.label}, et non plus {second.label}."
    assert refusal in in_french.content.decode()


def test_an_impossible_promotion_shows_an_error_and_changes_nothing(
    staff: Client, stored_model: ServingOptions
) -> None:
    champion = ModelVersion.objects.get()
    root = reverse("admin:recommender_modelversion_changelist")

    answer = staff.post(f"{root}{champion.pk}/make-champion/", {"reason": "again"}, follow=True)
    back = staff.post(f"{root}roll-back/", {"reason": "bad"}, follow=True)

    assert "is the champion already" in answer.content.decode()
    assert "There is no good version before" in back.content.decode()
    assert Promotion.objects.count() == 1


def test_staff_without_the_permission_cannot_promote(stored_model: ServingOptions) -> None:
    client = Client()
    client.force_login(User.objects.create_user("bob", is_staff=True))
    champion = ModelVersion.objects.get()

    answer = client.post(
        reverse("admin:recommender_modelversion_changelist") + f"{champion.pk}/make-champion/",
        {"reason": "mine"},
    )

    assert answer.status_code == 403


def test_a_key_made_in_the_admin_is_shown_once_and_works(staff: Client, db: None) -> None:
    user = User.objects.get(username="ada")
    fields = {"name": "iOS app", "user": user.pk, "scopes": default_scopes(), "expires_at_0": "",
              "expires_at_1": "", "revoked_at_0": "", "revoked_at_1": ""}  # fmt: skip

    answer = staff.post(reverse("admin:recommender_apikey_add"), fields, follow=True)

    shown = re.search(r"is ([0-9a-f]{64})", answer.content.decode())
    assert shown is not None
    key = ApiKey.objects.get()
    caller = make_api_caller()
    caller.headers = {"Authorization": f"Bearer {shown[1]}"}
    assert caller.get("/songs/").status_code == 200
    assert shown[1] not in page(staff, "admin:recommender_apikey_change", key.pk)


def test_a_served_list_s_page_shows_its_songs_with_reasons(
    staff: Client, stored_model: ServingOptions
) -> None:
    served = recommendations.recommend(listener(), options=stored_model)

    text = page(staff, "admin:recommender_servedlist_change", served.pk)

    described = serialize_list(served)["items"]
    assert text.count("<tr>") > len(described)
    assert described[0]["reason"].replace("&", "&amp;") in text


def test_the_listener_page_shows_affinities_and_a_preview_and_stores_no_list(
    staff: Client, stored_model: ServingOptions
) -> None:
    answer = staff.get(reverse("listen") + f"?user={listener()}&discovery=0.5")

    text = answer.content.decode()
    assert "Requested discovery: 0.50." in text
    assert text.count('class="bar"') > 0
    assert "Latest listening sessions" in text
    assert ServedList.objects.count() == 0


def test_an_empty_listener_page_says_what_comes_next(staff: Client) -> None:
    ListeningHistory.objects.all().delete()
    empty = staff.get(reverse("listen")).content.decode()
    unknown = staff.get(reverse("listen") + "?user=4711").content.decode()
    nonsense = staff.get(reverse("listen") + "?user=x").content.decode()

    assert "python manage.py runingest" in empty
    assert "There is no listener 4711." in unknown
    assert "Enter a whole number." in nonsense


def test_without_a_model_the_listener_page_says_how_to_train_one(
    staff: Client, stored_model: ServingOptions, tmp_path: Path, settings: Any
) -> None:
    settings.MODEL_STORAGE = tmp_path / "nowhere"

    text = staff.get(reverse("listen"), {"user": listener()}).content.decode()

    assert "python manage.py retrain" in text


def test_the_listener_page_shows_no_personal_data(staff: Client, stored_model: ServingOptions) -> None:
    one = Listener.objects.get(pk=listener())

    text = staff.get(reverse("listen"), {"user": one.pk}).content.decode()

    assert one.email not in text


def test_visitors_without_a_login_are_sent_to_the_login(client: Client) -> None:
    assert client.get(reverse("listen")).status_code == 302


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("pages", "model", "word"),
    [
        (ListeningHistoryAdmin, ListeningHistory, "470"),
        (FeedbackAdmin, Feedback, "470"),
        (FeedbackAdmin, Feedback, "an-event"),
        (ServedListAdmin, ServedList, "470"),
        (ServedListAdmin, ServedList, "0b5e2f8e-59a5-4d3c-8d12-0d9d2b7f2a10"),
    ],
)  # fmt: skip
def test_a_search_for_a_number_uses_an_index(pages: type[ReadOnlyAdmin], model: Any, word: str) -> None:
    rows, asked = model.objects.order_by(), RequestFactory().get("/")
    with connection.cursor() as cursor:
        # The tables of a test are so small that PostgreSQL would rather read them than an index.
        cursor.execute("SET LOCAL enable_seqscan = off")

    found, _ = pages(model, admin.site).get_search_results(asked, rows, word)

    assert "Index Cond" in found.explain()
    assert "Filter" not in found.explain()


@pytest.mark.django_db
def test_a_search_for_what_no_field_can_be_finds_nothing() -> None:
    pages = ListeningHistoryAdmin(ListeningHistory, admin.site)

    found, _ = pages.get_search_results(RequestFactory().get("/"), ListeningHistory.objects.all(), "rock")

    assert not found.exists()
