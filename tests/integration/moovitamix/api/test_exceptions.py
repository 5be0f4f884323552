"""API errors: one format, whatever raised them, and never a traceback."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import InterfaceError, OperationalError, connection, transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import path, reverse
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from moovitamix import urls
from tests.support.builders.api import ApiCaller, make_api_caller
from tests.support.builders.roles import find_role
from tests.support.project import Project, build_environment

pytestmark = pytest.mark.django_db


class Broken(APIView):
    permission_classes = ()

    def get(self, request: Request) -> Response:
        raise RuntimeError("a secret of the inside")


class Away(APIView):
    permission_classes = ()

    def get(self, request: Request) -> Response:
        raise OperationalError("a secret of the inside")


def away_page(request: HttpRequest) -> HttpResponse:
    raise InterfaceError("a secret of the inside")


class ReadOnly(APIView):
    """As after a failover to a server that only replicates."""

    permission_classes = ()

    def get(self, request: Request) -> Response:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION READ ONLY")
            cursor.execute("CREATE TABLE kept (number int)")
        return Response()


class Huge(APIView):
    permission_classes = ()

    def get(self, request: Request) -> Response:
        return Response({"whole": 2**70, "half": "\ud800", "nothing": float("nan")})


handler404 = urls.handler404
handler500 = urls.handler500
urlpatterns = [
    path("api/v1/broken/", Broken.as_view()),
    path("api/v1/away/", Away.as_view()),
    path("away/", away_page),
    path("api/v1/read-only/", ReadOnly.as_view()),
    path("api/v1/huge/", Huge.as_view()),
    *urls.urlpatterns,
]


@pytest.fixture
def caller() -> ApiCaller:
    return make_api_caller()


def shape(answer: Any) -> tuple[int, str]:
    body = answer.json()
    assert list(body) == ["error"]
    assert sorted(body["error"]) == ["code", "fields", "message"]
    return answer.status_code, body["error"]["code"]


@pytest.mark.parametrize(
    ("method", "route", "expected"),
    [
        ("get", "/nothing/", (404, "not_found")),
        ("get", "/songs/abc/", (404, "not_found")),
        ("post", "/songs", (404, "not_found")),
        ("get", "/users/" + "9" * 5_000 + "/", (404, "not_found")),
        ("get", "/songs/1/", (404, "not_found")),
        ("post", "/songs/", (405, "method_not_allowed")),
        ("delete", "/users/1/", (405, "method_not_allowed")),
        ("get", "/users/?available=?", (400, "invalid")),
        ("get", "/users/?format=xml", (404, "not_found")),
    ],
)
def test_an_error_has_the_one_shape(
    caller: ApiCaller, method: str, route: str, expected: tuple[int, str]
) -> None:
    answer = getattr(caller.client, method)(f"/api/v1{route}", headers=caller.headers)

    assert shape(answer) == expected


def test_an_answer_that_nobody_can_read_is_refused(caller: ApiCaller) -> None:
    answer = caller.get("/users/", Accept="image/png")

    assert shape(answer) == (406, "not_acceptable")


@override_settings(ROOT_URLCONF=__name__)
def test_an_error_that_nobody_foresaw_says_nothing_of_the_inside() -> None:
    answer = ApiCaller().get("/broken/")

    assert shape(answer) == (500, "internal_error")
    assert "secret" not in answer.content.decode()


@override_settings(ROOT_URLCONF=__name__)
def test_without_the_database_answers_say_that_it_is_worth_trying_again() -> None:
    answer = ApiCaller().get("/away/")
    page = Client(raise_request_exception=False).get("/away/")

    read_only = ApiCaller().get("/read-only/")

    assert shape(read_only) == (503, "unavailable")
    assert shape(answer) == (503, "unavailable")
    assert (page.status_code, answer.headers["Retry-After"], page.headers["Retry-After"]) == (503, "5", "5")
    assert "secret" not in answer.content.decode() + page.content.decode()


@override_settings(ROOT_URLCONF=__name__)
def test_what_orjson_cannot_say_is_said_all_the_same() -> None:
    answer = ApiCaller().get("/huge/")

    assert answer.json()["whole"] == 2**70


def test_a_host_that_is_not_ours_is_refused_in_the_same_shape(caller: ApiCaller) -> None:
    answer = caller.get("/users/", Host="evil.example.org")

    assert shape(answer) == (400, "bad_request")


def test_outside_the_api_errors_stay_pages() -> None:
    answer = Client().get("/nothing/")

    assert answer.status_code == 404
    assert answer.headers["Content-Type"].startswith("text/html")


@override_settings(DEBUG=False)
def test_an_error_page_leads_home_and_names_the_request(admin_user: User) -> None:
    client = Client(raise_request_exception=False, enforce_csrf_checks=True)
    client.force_login(admin_user)
    pages = {
        404: client.get("/nothing/"),
        403: client.post("/listen/leave/"),
        400: client.get("/", headers={"Host": "not.ours.example.org"}),
    }
    french = client.get("/nothing/", headers={"Accept-Language": "fr"}).content.decode()
    no_numbers = {
        client.get(
            reverse(f"admin:{model._meta.label_lower.replace('.', '_')}_change", args=["abc"])
        ).status_code
        for model in admin.site._registry
    }

    for code, page in pages.items():
        text = page.content.decode()
        assert page.status_code == code
        assert page.headers["X-Request-ID"] in text
        assert 'href="/"' in text
        assert 'href="/listen/"' in text
    assert "Cette page n’existe pas" in french  # noqa: RUF001
    # Django leads from a row that does not exist to the admin's first page.
    assert no_numbers <= {302, 404}


def test_a_forgotten_slash_leads_to_the_list(caller: ApiCaller) -> None:
    answer = caller.get("/users?available=true")

    assert (answer.status_code, answer.headers["Location"]) == (301, "/api/v1/users/?available=true")


def test_a_post_without_the_slash_is_told_where_to_go(caller: ApiCaller) -> None:
    answer = caller.post("/users", {})

    assert shape(answer) == (404, "not_found")
    assert "Did you mean /api/v1/users/?" in answer.json()["error"]["message"]


def test_live_asks_nothing_and_ready_asks_the_tables(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        live = Client().get("/health/live/")
    ready = Client().get("/health/ready/")

    assert (live.status_code, live.json()) == (200, {"status": "ok"})
    assert ready.status_code == 200
    assert ready.json()["checks"]["database"] == "ok"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variables", "check", "says"),
    [
        ({"DATABASE_NAME": "empty.db"}, "migrations", "python manage.py migrate"),
        ({"DATABASE_URL": "postgres://nobody@127.0.0.1:9/none"}, "database", "does not answer"),
    ],
)
def test_without_tables_or_database_the_service_is_not_ready(
    tmp_path: Path, variables: dict[str, str], check: str, says: str
) -> None:
    project = Project(build_environment(tmp_path, **variables), tmp_path)

    status, body = project.shell(
        "from django.test import Client\n"
        "answer = Client().get('/health/ready/', headers={'Host': 'localhost'})\n"
        "print(answer.status_code, answer.content.decode())"
    ).split(" ", 1)

    assert status == "503"
    assert json.loads(body)["status"] == "unavailable"
    assert says in json.loads(body)["checks"][check]


def test_a_person_without_rights_in_the_admin_sees_no_personal_data() -> None:
    clerk = User.objects.create_user("clerk", password="pw", is_staff=True)
    clerk.groups.add(find_role("viewer"))
    staff = Client()
    staff.login(username="clerk", password="pw")

    answer = staff.get("/api/v1/users/", headers={"Accept": "application/json"})

    assert answer.status_code == 200


def test_too_many_parameters_are_a_bad_request() -> None:
    answer = make_api_caller().get("/users/?" + "&".join(f"a{number}=1" for number in range(1_001)))

    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "The request has too many parameters; at most 1000 are read."
