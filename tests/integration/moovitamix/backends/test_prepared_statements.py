"""`DATABASE_URL` can ask PostgreSQL to keep the plans of statements that a connection repeats."""

import json

from tests.support.project import Project

OPTIONS = "?prepare_threshold=5"
REPEAT = """
import json
from django.db import connection
from ingestion.models import Song

for pk in range(6):
    Song.objects.filter(pk=pk).exists()
with connection.cursor() as cursor:
    cursor.execute("SELECT statement FROM pg_prepared_statements")
    print(json.dumps([statement for (statement,) in cursor.fetchall()]))
"""


def test_statements_are_prepared_only_if_the_url_asks_for_it(postgres_project: Project) -> None:
    by_default = json.loads(postgres_project.shell(REPEAT).splitlines()[-1])
    postgres_project.environment["DATABASE_URL"] += OPTIONS

    prepared = json.loads(postgres_project.shell(REPEAT).splitlines()[-1])

    assert by_default == []
    assert any('"songs"' in statement and "$1" in statement for statement in prepared)
