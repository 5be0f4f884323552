"""Every list and form of the admin and the API's pages are accessible, and as wide as the screen.

They are read in French, whose texts are longer. Pages in English are checked where their tests are.
"""

from typing import Any, Final

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page
from pytest_django.live_server_helper import LiveServer

from ingestion.models import IngestionRun
from tests.support.accessibility import contrast_faults, serious_faults, switch_to_dark
from tests.support.builders.api import make_listener, make_song
from tests.support.builders.experiments import make_ingestion_run

# The page, and each of its parts that scrolls by itself.
TOO_WIDE: Final = """
[document.documentElement, ...document.querySelectorAll("#content *, main *")].filter(one =>
    one.scrollWidth > one.clientWidth + 1 && (one === document.documentElement
    || ["auto", "scroll"].includes(getComputedStyle(one).overflowX))).map(one => one.className)
"""
ERROR: Final = "http://127.0.0.1:8001/tracks?page=1&size=100 failed 3 times; last reason: no answer"


@pytest.fixture
def staff(transactional_db: None, django_user_model: Any, page: Page, live_server: LiveServer) -> Page:
    """A logged-in owner on a page 1280 pixels wide, with a failed run, a song and a listener."""
    user = django_user_model.objects.create_superuser("ada", "ada@example.org", "a long password")
    # The roles are gone if a test before this one emptied the tables.
    user.groups.add(Group.objects.get_or_create(name="owner")[0])
    make_ingestion_run(timezone.now(), status="failed", error=ERROR)
    make_song(7)
    make_listener(7)
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(f"{live_server.url}/admin/")
    page.get_by_label("Username").fill("ada")
    page.get_by_label("Password").fill("a long password")
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{live_server.url}/admin/")
    return page


def paths(user: Any) -> list[str]:
    own = ("models", "songs", "listeners", "two-factor", "listen", "api-root", "api-songs", "api-docs")
    lists = [
        reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        for model in admin.site._registry
    ]
    forms = [
        reverse("admin:auth_user_change", args=[user.pk]),
        reverse("admin:auth_group_change", args=[Group.objects.all()[0].pk]),
        reverse("admin:ingestion_ingestionrun_change", args=[IngestionRun.objects.get().pk]),
        reverse("run", args=[IngestionRun.objects.get().pk]),
        *(reverse(f"admin:ingestion_{name}_change", args=[7]) for name in ("song", "listener")),
        *(reverse(f"admin:recommender_{name}_add") for name in ("apikey", "nameword", "clusternamerule")),
        *(reverse(f"admin:ingestion_{name}_add") for name in ("webhook", "maintenancewindow")),
        reverse("admin:django_celery_beat_periodictask_add"),
        reverse("admin:password_change"),
        reverse("admin:recommender_modelversion_compare"),
        reverse("admin:recommender_feedback_import_file"),
    ]
    return [*map(reverse, own), *lists, *forms]


def test_no_page_has_a_serious_accessibility_fault_or_is_wider_than_the_screen(
    staff: Page, live_server: LiveServer, django_user_model: Any
) -> None:
    staff.set_extra_http_headers({"Accept-Language": "fr"})
    wrong = {}

    for path in paths(django_user_model.objects.get()):
        staff.emulate_media(color_scheme="light")
        staff.goto(f"{live_server.url}{path}")
        found = [*serious_faults(staff), *map(str, staff.evaluate(TOO_WIDE))]
        switch_to_dark(staff)
        found += contrast_faults(staff)
        if found:
            wrong[path] = found

    assert wrong == {}
