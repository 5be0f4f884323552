"""While the database can't store anything, lists are served and say that they are not kept."""

import json

from tests.support.project import Project

# `query_only` refuses every write, as a full disk or a read-only standby does.
SERVE = """
import json
from django.db import connection
from django.test.utils import setup_test_environment
setup_test_environment()
from tests.support.builders.api import make_api_caller, make_listener, make_session, make_song
for number in range(1, 41):
    make_song(number, artist=f"Artist {number}")
make_listener(1)
make_session(1, [1, 2, 3])
caller = make_api_caller()
def ask(path):
    answer = caller.get(path)
    body = answer.json()
    return [answer.status_code, body.get("stored"), len(body.get("items", [])), bool(body.get("next"))]
def set_read_only(value):
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA query_only={value}")
earlier = caller.get("/users/1/recommendations/?n=5").json()
set_read_only(1)
full = [ask("/users/1/recommendations/?n=5"), ask("/users/1/next/")]
second = earlier["next"].partition("/api/v1")[2]
full.append(ask(second))
ready = caller.client.get("/health/ready/").json()
set_read_only(0)
second_after = ask(second)
after = ask("/users/1/recommendations/?n=5")
ready = [ready["status"], ready["checks"]["write"]]
print(json.dumps({"full": full, "ready": ready, "after": after, "second": second_after}))
"""


def test_lists_are_served_and_marked_while_nothing_can_be_stored(sqlite_project: Project) -> None:
    found = json.loads(sqlite_project.shell(SERVE).splitlines()[-1])

    # A list, the next song, and the second page of a list from before.
    assert found["full"] == [[200, False, 5, False], [200, False, 1, False], [200, False, 5, False]]
    assert found["ready"] == ["degraded", "fails"]
    assert found["second"] == [200, True, 5, True]
    assert found["after"] == [200, True, 5, True]
