"""The import of files of feedback in the admin: formats, refused rows, repetitions, limits."""

import re
from base64 import b64decode
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import DatabaseError
from django.test import Client
from django.utils import timezone

from ingestion.models import AuditEntry
from recommender.admin import feedback_import
from recommender.feedback import event_files
from recommender.models import Feedback
from tests.support.builders.api import make_listener, make_song
from tests.support.builders.roles import find_role

pytestmark = pytest.mark.django_db
URL = "/admin/recommender/feedback/import-file/"
AT = (timezone.now() - timedelta(days=400)).strftime("%Y-%m-%dT%H:%M:%SZ")

NDJSON = (
    f'{{"event_id": "a", "user_id": 1, "song_id": 10, "kind": "listen", "seconds": 40.5, "at": "{AT}"}}\n\n'
    f'{{"event_id": "b", "user_id": 2, "song_id": 20, "kind": "like", "at": "{AT}"}}'
)


@pytest.fixture
def owner(client: Client) -> Client:
    person = User.objects.create_user("eve", is_staff=True)
    person.groups.add(find_role("owner"))
    client.force_login(person)
    for pk in (1, 2):
        make_listener(pk)
        make_song(10 * pk)
    return client


def send(client: Client, content: str | bytes, name: str = "old.csv", **headers: str) -> Any:
    file = SimpleUploadedFile(name, content.encode() if isinstance(content, str) else content)
    return client.post(URL, {"file": file}, headers=headers)


def counts(answer: Any) -> tuple[int, int, int, int]:
    report = answer.context["report"]
    return report.rows, report.stored, report.known, len(report.refused)


def refused(answer: Any) -> list[dict[str, Any]]:
    """The rows of the download."""
    link = re.search(r'href="data:application/x-ndjson;base64,([^"]*)"', answer.content.decode())
    assert link
    return [orjson.loads(line) for line in b64decode(link[1]).splitlines()]


def stored() -> list[tuple[Any, ...]]:
    rows = Feedback.objects.order_by("id")
    return list(rows.values_list("event_id", "listener_id", "song_id", "kind", "seconds", "key_id"))


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize(
    "content",
    [
        f"event_id,user_id,song_id,kind,seconds,at\na,1,10,listen,40.5,{AT}\r\n\r\nb,2,20,like,,{AT}\n,,,,,\n",
        f"event_id;user_id;song_id;kind;seconds;at\na;1;10;listen;40.5;{AT}\nb;2;20;like;;{AT}",
        NDJSON,
    ],
)
def test_csv_and_ndjson_with_and_without_a_byte_order_mark_are_stored(
    owner: Client, content: str, mark: str
) -> None:
    answer = send(owner, mark + content)

    assert counts(answer) == (2, 2, 0, 0)
    assert stored() == [("a", 1, 10, "listen", 40.5, 0), ("b", 2, 20, "like", None, 0)]
    assert Feedback.objects.filter(at=datetime.fromisoformat(AT)).count() == 2


def test_a_second_import_stores_nothing_twice_and_the_audit_trail_has_only_counts(owner: Client) -> None:
    content = "event_id,user_id,song_id,kind\na,1,10,like\nb,1,20,like\na,1,10,like\nc,7,10,like\n"

    first, second = send(owner, content), send(owner, content)

    assert counts(first) == (4, 2, 1, 1)
    assert counts(second) == (4, 0, 3, 1)
    assert len(stored()) == 2
    entries = AuditEntry.objects.filter(action="feedback_imported").order_by("id")
    assert list(entries.values_list("actor", "target")) == [
        ("eve", "4 rows: 2 stored, 1 known, 1 refused"),
        ("eve", "4 rows: 0 stored, 3 known, 1 refused"),
    ]


def test_each_refused_csv_row_has_its_first_line_and_its_reason(owner: Client) -> None:
    content = (
        "event_id,user_id,song_id,kind,seconds,recommendation_id,at\n"
        "a,9,10,like,,,\n"
        "b,1,11,like,,,\n"
        '"c\nd",1,10,love,,,\n'
        "e,1_0,10,like,,,\n"
        "f,1,10,listen,,,\n"
        "g,1,10,like,3,,\n"
        "h,1,10\n"
        "i,1,10,like,,,1999-01-01\n"
        "j,1,10,like,,0d3c1f1e-3f0e-4d8a-9a53-0f2f2b1d9c11,\n"
        "k,1,10,like,,,\n"
        "k,1,20,like,,,\n"
        ",1,20,like,,,\n"
    )

    answer = send(owner, content)

    found = {row["line"]: row["reason"] for row in refused(answer)}
    assert found == {
        2: "user_id: user 9 is unknown.",
        3: "song_id: song 11 is unknown.",
        4: 'kind: "love" is not a valid choice.',
        6: "user_id: A valid integer is required.",
        7: "seconds: A listen needs its seconds.",
        8: "seconds: Only a listen has seconds.",
        9: "Cells in the row: 3; columns in the header: 7.",
        10: "at: 1999-01-01T00:00:00+00:00 is more than 1 day ahead or 1825 days ago. No such events are "
        "stored: correct the time or leave the row out.",
        11: "recommendation_id: user 1 was served no such list.",
        13: "event_id: k is already stored with other content.",
        14: "event_id: This field is required.",
    }
    assert refused(answer)[2]["event_id"] == "c\nd"
    assert refused(answer)[6]["row"] == "h,1,10\n"
    assert stored() == [("k", 1, 10, "like", None, 0)]


def test_each_refused_ndjson_row_has_its_line_and_its_reason(owner: Client) -> None:
    content = (
        '{"event_id": "a\u2028z", "user_id": 1, "song_id": 10, "kind": "like"}\n'
        '{"event_id": "b", "user_id": 1, "song_id": 10, "kind": "like", "occurred_at": "2026-01-01"}\n'
        '{"event_id": "c", "user_id": 1\n'
        "\n"
        "[1]\n"
        '{"event_id": "d", "user_id": true, "song_id": 10, "kind": "like"}\n'
        '{"event_id": "e", "user_id": 1, "song_id": 10, "kind": {"like": []}}\n'
        f'{{"event_id": "f", "user_id": 1, "song_id": 10, "kind": {"[" * 500}{"]" * 500}}}\n'
    )

    answer = send(owner, content, "old.ndjson")

    found = {row["line"]: row["reason"] for row in refused(answer)}
    assert found == {
        2: "Unknown fields: occurred_at. Known fields: event_id, user_id, song_id, kind, seconds, "
        "recommendation_id, at.",
        3: "Not JSON: see character 31 of the line.",
        5: "Not a JSON object.",
        6: "user_id: A valid integer is required.",
        7: "A value is a list or an object.",
        8: "A value is a list or an object.",
    }
    assert [row[0] for row in stored()] == ["a\u2028z"]


def test_a_corrected_download_of_refused_rows_can_be_imported(owner: Client) -> None:
    rows = refused(send(owner, "event_id,user_id,song_id,kind,seconds\na,1,10,lik,\nb,2,20,listen,x\n"))
    rows[0]["kind"], rows[1]["seconds"] = "like", "31"

    answer = send(owner, b"\n".join(map(orjson.dumps, rows)), "refused-feedback.ndjson")

    assert counts(answer) == (2, 2, 0, 0)
    assert stored() == [("a", 1, 10, "like", None, 0), ("b", 2, 20, "listen", 31.0, 0)]


@pytest.mark.parametrize("wrong", ['"b,1,10,like\n', '"b"c,1,10,like\n', '"' + "b" * 140_000 + "\n"])
def test_a_row_with_a_wrong_quotation_mark_is_refused_alone(owner: Client, wrong: str) -> None:
    answer = send(
        owner, f'event_id,user_id,song_id,kind\na,1,10,like\n{wrong}c,1,10,like\n"d\ne",1,10,like\n1\n'
    )

    assert counts(answer) == (5, 3, 0, 2)
    problem = (
        "Not CSV: a quotation mark is not closed or stands within a cell, or a cell is longer than 131072 "
        "characters."
    )
    assert [(row["line"], row["reason"]) for row in refused(answer)] == [
        (3, problem), (7, "Cells in the row: 1; columns in the header: 4."),
    ]  # fmt: skip
    assert refused(answer)[0]["row"] == wrong
    assert [row[0] for row in stored()] == ["a", "c", "d\ne"]


def test_a_file_whose_quotation_marks_are_all_wrong_is_not_read_again_for_each_row(
    owner: Client, monkeypatch: Any
) -> None:
    read = 0
    next_line = event_files._Lines.__next__

    def count(lines: Any) -> str:
        nonlocal read
        read += 1
        return next_line(lines)

    monkeypatch.setattr(event_files._Lines, "__next__", count)
    rows = list(
        event_files.read_rows(
            "event_id,user_id,song_id,kind\n" + 'a1","1","10","like\n' * 1000,
            known=["event_id", "user_id", "song_id", "kind"], required=["event_id"],
        )
    )  # fmt: skip

    assert len(rows) == 1000
    assert all(row.problem for row in rows)
    assert read < 25 * 1000


def test_spaces_around_cells_do_not_count(owner: Client) -> None:
    send(owner, 'event_id, user_id, song_id, kind\na , 1, 10, "like"\n')

    assert stored() == [("a", 1, 10, "like", None, 0)]


def test_a_download_that_is_too_large_for_a_link_has_the_first_rows(owner: Client, monkeypatch: Any) -> None:
    monkeypatch.setattr(feedback_import, "MAX_DOWNLOAD_BYTES", 400)

    answer = send(owner, "event_id,user_id,song_id,kind\n" + "".join(f"e{n},9,10,like\n" for n in range(9)))

    assert [row["line"] for row in refused(answer)] == [2, 3, 4]
    assert "A download can hold only the first 3. Split the file for the others." in answer.content.decode()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("event_id,user_id,song_id,kind\na,1,10,like\n".encode("utf-16"), "not in UTF-8: see line 1"),
        (b"event_id,user_id,song_id,kind\na,1,10,like\n\xe9,1,10,like\n", "not in UTF-8: see line 3"),
        (b"event_id,user_id,song_id,kind,when\na,1,10,like,\n", "Unknown fields: when."),
        (b"event_id,user_id\na,1\n", "The header lacks: song_id, kind."),
        (b"event_id,user_id,song_id,kind,kind\na,1,10,like,\n", "these columns twice: kind."),
        (b"event_id,user_id,song_id,kind\n\n", "The file has no rows."),
        (b'[{"event_id": "a"}]', "The file is one JSON list."),
        (b"", "The submitted file is empty."),
    ],
)
def test_a_file_that_is_wrong_as_a_whole_is_refused(owner: Client, content: bytes, problem: str) -> None:
    answer = send(owner, content)

    assert problem in answer.content.decode()
    assert answer.context["report"] is None
    assert not Feedback.objects.exists()
    assert not AuditEntry.objects.filter(action="feedback_imported").exists()


def test_larger_and_longer_files_than_allowed_are_refused_before_anything_is_stored(
    owner: Client, monkeypatch: Any
) -> None:
    content = "event_id,user_id,song_id,kind\n" + "".join(f"e{n},1,10,like\n" for n in range(4))
    monkeypatch.setattr(feedback_import, "MAX_ROWS", 3)
    too_long = send(owner, content).content.decode()
    monkeypatch.setattr(feedback_import, "MAX_ROWS", 4)
    monkeypatch.setattr(feedback_import, "MAX_BYTES", 80)
    too_large = send(owner, content).content.decode()

    assert "The file has more than 3 rows. Split it: nothing was imported." in too_long
    assert "The file has 0.0 MB; at most 0 MB are imported at a time. Split it." in too_large
    assert stored() == []
    monkeypatch.setattr(feedback_import, "MAX_BYTES", len(content))
    assert counts(send(owner, content)) == (4, 4, 0, 0)


@pytest.mark.parametrize("role", [None, "viewer", "operator"])
def test_who_may_not_send_feedback_may_not_import_it(owner: Client, role: str | None) -> None:
    person = User.objects.create_user("bob", is_staff=True)
    if role:
        person.groups.add(find_role(role))
    owner.force_login(person)

    assert owner.get(URL).status_code in {302, 403}
    assert send(owner, "event_id,user_id,song_id,kind\na,1,10,like\n").status_code in {302, 403}
    assert not Feedback.objects.exists()
    assert "import-file" not in owner.get("/admin/recommender/feedback/").content.decode()


def test_html_in_a_row_is_escaped(owner: Client) -> None:
    evil = "<script>alert(1)</script>"

    page = send(owner, f"event_id,user_id,song_id,kind\n{evil},1,10,{evil}\n").content.decode()

    assert evil not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 3


def test_a_long_cell_and_the_fifty_first_row_are_only_in_the_download(owner: Client) -> None:
    rows = "".join(f"e{n},1,10,{'x' * 1000}\n" for n in range(51))

    answer = send(owner, "event_id,user_id,song_id,kind\n" + rows)

    page = answer.content.decode()
    assert [row["kind"] for row in refused(answer)] == ["x" * 1000] * 51
    assert "x" * 301 not in page
    assert "event_id: e49," in page
    assert "event_id: e50," not in page
    assert "The table has the first 50; the download has more." in page


def test_a_batch_is_stored_whole_or_not_and_a_repetition_stores_the_rest(
    owner: Client, monkeypatch: Any
) -> None:
    content = "event_id,user_id,song_id,kind\n" + "".join(f"e{n},1,10,like\n" for n in range(5))
    monkeypatch.setattr(feedback_import, "BATCH", 2)
    insert = Feedback.objects.bulk_create

    def fail_at_the_third(rows: Any, **options: Any) -> Any:
        made = insert(rows, **options)
        # After the statement: only the transaction takes the rows of this batch back.
        if any(row.event_id == "e3" for row in rows):
            raise DatabaseError("The disk is full.")
        return made

    monkeypatch.setattr(
        type(Feedback.objects), "bulk_create", lambda self, rows, **o: fail_at_the_third(rows, **o)
    )
    with pytest.raises(DatabaseError):
        send(owner, content)
    assert [row[0] for row in stored()] == ["e0", "e1"]
    assert AuditEntry.objects.get(action="feedback_imported").target == "2 rows: 2 stored, 0 known, 0 refused"
    monkeypatch.undo()

    assert counts(send(owner, content)) == (5, 3, 2, 0)


def test_a_time_without_a_zone_is_in_utc_as_in_the_api(owner: Client, settings: Any) -> None:
    settings.TIME_ZONE = "Asia/Tokyo"
    at = (timezone.now() - timedelta(days=3)).replace(microsecond=0, tzinfo=None)

    send(owner, f"event_id,user_id,song_id,kind,at\na,1,10,like,{at.isoformat()}\n")

    assert Feedback.objects.get().at == at.replace(tzinfo=UTC)


def test_the_page_and_its_reasons_are_french_for_french_browsers(owner: Client) -> None:
    french = {"Accept-Language": "fr"}

    form = owner.get(URL, headers=french).content.decode()
    page = send(
        owner, "event_id,user_id,song_id,kind\na,1,10,listen\nb,5,10,like\n", **french
    ).content.decode()

    assert "Importer un fichier" in form
    assert "seconds: Une écoute a besoin de ses secondes." in page
    assert "utilisateur 5 est inconnu." in page
