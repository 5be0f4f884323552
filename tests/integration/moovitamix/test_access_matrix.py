"""Who may open what: every page and endpoint, and every caller. A new URL needs a row."""

from collections.abc import Iterator
from typing import Any, Final

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from recommender.api.authentication import issue_key
from recommender.api.permissions import ROUTE_SCOPES
from tests.support.builders.roles import find_role

pytestmark = pytest.mark.django_db
ROLES: Final = ("viewer", "operator", "owner")
PUBLIC: Final = frozenset({"anonymous", "staff", *ROLES, "key"})
EVERY_ROLE: Final = frozenset(ROLES)
# Route: who may open it. "staff" has no role, and "key" no scope.
PAGES: Final = {
    "home": EVERY_ROLE, "live": EVERY_ROLE, "run": EVERY_ROLE, "run_log": EVERY_ROLE,
    "models": EVERY_ROLE, "cluster": EVERY_ROLE, "songs": EVERY_ROLE, "listeners": EVERY_ROLE,
    "listen": EVERY_ROLE,
    "metrics": EVERY_ROLE,
    "two-factor": frozenset({"staff", *ROLES}), "search": frozenset({"staff", *ROLES}),
    "health-live": PUBLIC, "health-ready": PUBLIC, "health-badge": PUBLIC, "favicon": PUBLIC,
    # For whoever has a listener's link (test_listener_page.py); anybody may forget one.
    **dict.fromkeys(
        ("listen_mix", "listen_new", "listen_answers", "listen_playlist", "listen_open"), frozenset()
    ),
    "listen_links": frozenset({"owner"}), "listen_leave": PUBLIC,
    "api-schema": PUBLIC, "api-docs": PUBLIC, "api-unknown": PUBLIC,
}  # fmt: skip
# Endpoints by what a session needs; with a key, its scope decides (test_scopes_and_tokens.py).
SESSIONS: Final = {
    "catalogue": EVERY_ROLE,
    "recommend": frozenset({"owner"}),
    "feedback": frozenset({"owner"}),
}
CALLERS: Final = ("anonymous", "staff", *ROLES, "key")
# Admin: model and the rights of viewer, operator and owner: v(iew), a(dd), c(hange), d(elete).
ADMIN: Final = {
    **dict.fromkeys(
        ("anomalycheck", "baselinereset", "incident", "ingestionrun", "listener", "listeninghistory",
         "notification", "rejection", "song", "taskusage", "decision", "driftreport", "engagementday",
         "experiment", "feedback", "modelversion", "promotion", "servedlist", "songevidence", "trainingrun",
         "taskresult"),
        ("v", "v", "v"),
    ),
    "auditentry": ("", "", "v"),
    "apikey": ("", "", "vac"),
    # Channels are switched by an action of their list.
    "alertchannel": ("v", "v", "v"), "maintenancewindow": ("v", "vacd", "vacd"),
    "webhook": ("", "", "vacd"), "webhookdelivery": ("", "", "v"),
    "totpdevice": ("", "", "vd"),
    "user": ("", "", "vacd"), "group": ("", "", "vacd"),
    **dict.fromkeys(("clusternamerule", "genrealias", "nameword"), ("v", "vacd", "vacd")),
    "periodictask": ("v", "vac", "vacd"), "crontabschedule": ("v", "vac", "vacd"),
    "intervalschedule": ("v", "vac", "vacd"),
    "solarschedule": ("v", "v", "v"), "clockedschedule": ("v", "v", "v"),
}  # fmt: skip


@pytest.fixture
def users() -> dict[str, User]:
    made = {name: User.objects.create_user(name, is_staff=True) for name in ("staff", *ROLES)}
    for role in ROLES:
        made[role].groups.add(find_role(role))
    return made


def routes(patterns: Any = None) -> Iterator[URLPattern]:
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        if isinstance(pattern, URLResolver):
            if pattern.app_name != "admin":
                yield from routes(pattern.url_patterns)
        else:
            yield pattern


def path_of(route: str) -> str:
    values: dict[str, Any] = {
        "api-model": {"label": "2026w1.1"}, "api-feedback-event": {"event_id": "a"},
        "cluster": {"number": 1}, "listen_playlist": {"form": "jspf"}, "listen_open": {"token": "made:up"},
    }  # fmt: skip
    if route == "api-unknown":
        return "/api/nothing/"
    named = values.get(route) or ({"pk": 1} if route in ROUTES_WITH_ID else {})
    return reverse(route, kwargs=named)


ROUTES_WITH_ID: Final = frozenset(
    {"run", "run_log", "api-song", "api-user", "api-run", "api-similar", "api-recommendations", "api-next",
     "api-affinities", "api-new-releases", "api-cluster", "api-experiment"}
)  # fmt: skip


def is_open(client: Client, route: str, **headers: Any) -> bool:
    path = path_of(route)
    answer = client.get(path, **headers)
    if answer.status_code == 302 and "/login/" in answer["Location"]:
        return False
    # A part of a page that htmx loads: it reloads the page, which leads to the login.
    return answer.status_code not in {401, 403} and not (route == "live" and answer.status_code == 204)


def test_every_route_has_a_row() -> None:
    assert {route.name for route in routes()} == set(PAGES) | set(ROUTE_SCOPES)
    assert {model._meta.model_name for model in admin.site._registry} == set(ADMIN)


@pytest.mark.slow
def test_pages_and_endpoints_open_for_those_of_the_matrix_and_nobody_else(users: dict[str, User]) -> None:
    secret = issue_key("No scope", User.objects.create_user("app"), scopes=[])[1]
    found: dict[str, set[str]] = {}
    for caller in CALLERS:
        client = Client(raise_request_exception=False)
        if caller in users:
            client.force_login(users[caller])
        headers = {"headers": {"Authorization": f"Bearer {secret}"}} if caller == "key" else {}
        for route in (*PAGES, *ROUTE_SCOPES):
            if is_open(client, route, **headers):
                found.setdefault(route, set()).add(caller)

    expected = {**PAGES, **{route: SESSIONS[scope] for route, scope in ROUTE_SCOPES.items()}}
    assert {route: found.get(route, set()) for route in expected} == expected


def test_the_admin_gives_each_role_its_rights(users: dict[str, User], rf: Any) -> None:
    found = {}
    for model, page in admin.site._registry.items():
        rights = []
        for role in ROLES:
            request = rf.get("/")
            request.user = User.objects.get(username=role)
            checks = {
                "v": page.has_view_permission, "a": page.has_add_permission,
                "c": page.has_change_permission, "d": page.has_delete_permission,
            }  # fmt: skip
            rights.append("".join(letter for letter, may in checks.items() if may(request)))
        found[model._meta.model_name] = tuple(rights)

    assert found == ADMIN


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "operator"),
    [
        ("admin:ingestion_ingestionrun_run_now", True),
        ("admin:recommender_modelversion_train_now", True),
        ("admin:recommender_modelversion_roll_back", True),
        ("admin:recommender_apikey_add", False),
        ("admin:recommender_feedback_import_file", False),
        ("admin:auth_user_add", False),
        ("admin:ingestion_auditentry_changelist", False),
    ],
)
def test_buttons_ask_a_permission(users: dict[str, User], page: str, operator: bool) -> None:
    statuses = {}
    for name in ("staff", "viewer", "operator", "owner"):
        client = Client(raise_request_exception=False)
        client.force_login(users[name])
        statuses[name] = client.get(reverse(page)).status_code

    assert statuses["staff"] in {302, 403}
    assert statuses["viewer"] in {302, 403}
    assert (statuses["operator"] == 200) is operator
    assert statuses["owner"] == 200


def test_staff_without_a_role_see_no_runs_in_the_admin(users: dict[str, User]) -> None:
    client = Client()
    client.force_login(users["staff"])

    page = client.get("/admin/").content.decode()

    assert "You have no role yet" in page
    assert "Audit trail" not in page
