"""Statements of web requests and tasks are limited on PostgreSQL; those of commands are not."""

from tests.support.project import Project

SHOW = """
from django.db import connection
{prepare}
with connection.cursor() as cursor:
    for name in ("statement_timeout", "lock_timeout"):
        cursor.execute(f"SHOW {{name}}")
        print(cursor.fetchone()[0])
"""
WEB = "from moovitamix.backends.database_limits import limit_web_statements; limit_web_statements()"
TASK = "from moovitamix.backends.database_limits import limit_task_statements; limit_task_statements()"
LIFTED = WEB + "; from ingestion.jobs.database_patience import lift_statement_limits; lift_statement_limits()"


def test_each_kind_of_process_has_its_own_limits(postgres_project: Project) -> None:
    code = "\n".join(
        SHOW.format(prepare=f"connection.close(); {prepare}") for prepare in ("pass", WEB, TASK, LIFTED)
    )

    command, web, task, lifted = (
        postgres_project.shell(code).split()[place : place + 2] for place in (0, 2, 4, 6)
    )

    assert command == ["0", "0"]
    assert web == ["30s", "10s"]
    assert lifted == ["0", "0"]
    assert task == ["1h", "2min"]
