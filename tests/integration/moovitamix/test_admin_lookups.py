"""Query parameters of admin lists: only those of the list's own filters and links are obeyed."""

from itertools import product

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.core.exceptions import BadRequest
from django.test import Client, RequestFactory
from django.urls import get_resolver

LOOKUPS = ("contains", "endswith", "gt", "icontains", "iregex", "lte", "range", "regex", "startswith")
# Links from other pages to a list of rejections.
LINKED = {("Rejection", "run_id__lte"), ("Rejection", "last_run_id__gte")}


def test_no_admin_list_can_be_searched_by_a_field_that_is_not_one_of_its_filters() -> None:
    assert get_resolver().url_patterns  # discovers the admins
    request = RequestFactory().get("/")
    request.user = User(is_superuser=True, is_active=True, is_staff=True)

    allowed = {
        (model.__name__, f"{field.attname}__{lookup}")
        for (model, page), lookup in product(admin.site._registry.items(), LOOKUPS)
        for field in model._meta.concrete_fields
        if page.lookup_allowed(f"{field.attname}__{lookup}", "x", request)
    }

    assert allowed <= LINKED
    assert len(admin.site._registry) > 20


@pytest.mark.django_db
@pytest.mark.parametrize("query", ["email__gte=a", "email__regex=a", "last_name=x", "histories__id=1"])
def test_personal_data_can_not_be_guessed_letter_by_letter(client: Client, query: str) -> None:
    staff = User.objects.create_user("ada", is_staff=True)
    staff.user_permissions.add(Permission.objects.get(codename="view_listener"))
    client.force_login(staff)

    answer = client.get(f"/admin/ingestion/listener/?{query}")

    assert answer.status_code == 400
    assert client.get("/admin/ingestion/listener/?availability=missing").status_code == 200


def test_no_admin_action_takes_a_row_whose_id_is_impossible(rf: RequestFactory) -> None:
    assert get_resolver().url_patterns  # discovers the admins
    for page in admin.site._registry.values():
        # Celery's results have texts as ids.
        impossible = "x" * 10_000 if page.model._meta.pk.get_internal_type() == "CharField" else "9" * 20
        request = rf.post("/", {"action": "delete_selected", "_selected_action": impossible, "index": "0"})
        with pytest.raises(BadRequest):
            page.response_action(request, page.model.objects.none())


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path", ["/admin/ingestion/song/?q=%00", "/admin/ingestion/rejection/?resource__exact=a%00", "/?%00=1"]
)
def test_pages_refuse_null_characters_in_parameters(client: Client, path: str) -> None:
    client.force_login(User.objects.create_superuser("ada"))

    assert client.get(path).status_code == 400
    assert client.post("/admin/login/", {"username": "a\0", "password": "x"}).status_code == 400
