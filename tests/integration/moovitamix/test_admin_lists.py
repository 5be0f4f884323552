"""Rules for every admin list: history is read-only, states have filters, and rows have an order."""

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin import ModelAdmin
from django.contrib.auth.models import User
from django.db.models import Model
from django.test import Client
from django.urls import reverse

# All other models are history or come from the source.
EDITABLE = {
    "apikey",
    "clockedschedule",
    "clusternamerule",
    "crontabschedule",
    "genrealias",
    "group",
    "intervalschedule",
    "maintenancewindow",
    "nameword",
    "periodictask",
    "solarschedule",
    "totpdevice",
    "user",
    "webhook",
}
STATES = {"status", "state", "verdict", "role", "outcome", "severity", "resolution"}
# Normally done by moovitamix.urls, which is not loaded yet.
admin.autodiscover()
HISTORY = {model._meta.label_lower: (model, shown) for model, shown in admin.site._registry.items()
           if model._meta.model_name not in EDITABLE}  # fmt: skip
Shown = tuple[type[Model], "ModelAdmin[Any]"]


@pytest.mark.parametrize("shown", HISTORY.values(), ids=HISTORY)
def test_history_cannot_be_added_changed_or_deleted(db: None, shown: Shown) -> None:
    staff = Client()
    staff.force_login(User.objects.create_superuser("ada", "ada@example.org", "a long password"))
    model, model_admin = shown
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}"

    added = staff.post(reverse(f"{name}_add"), {}).status_code
    page = staff.get(reverse(f"{name}_changelist"))

    assert (added, page.status_code) == (403, 200)
    assert not model_admin.has_change_permission(page.wsgi_request)
    assert not model_admin.has_delete_permission(page.wsgi_request)
    assert "delete_selected" not in model_admin.get_actions(page.wsgi_request)


def test_no_admin_page_of_a_row_that_does_not_exist_is_found(db: None, client: Client) -> None:
    client.force_login(User.objects.create_superuser("ada", "ada@example.org", "a long password"))
    rows = [f"/admin/{model._meta.app_label}/{model._meta.model_name}/{row}"
            for model in admin.site._registry for row in ("987654", "abc")]  # fmt: skip
    pages = [f"{row}/{page}/" for row in rows for page in ("change", "history")]
    pages += [f"{row}/delete/" for row in rows if row.split("/")[3] in EDITABLE]

    found = {page: status for page in pages if (status := client.get(page).status_code) != 404}

    assert not found
    assert len(pages) > 4 * len(EDITABLE)


@pytest.mark.parametrize("shown", HISTORY.values(), ids=HISTORY)
def test_every_state_has_a_filter_and_every_list_an_order(shown: Shown) -> None:
    model, model_admin = shown
    filters = [
        one if isinstance(one, str) else getattr(one, "parameter_name", one)
        for one in model_admin.list_filter
    ]
    names = {one[0] if isinstance(one, tuple) else one for one in filters}
    states = {field.name for field in model._meta.fields if field.name in STATES and field.choices}

    assert states - names == set()
    assert model_admin.ordering or model._meta.ordering
