"""Leases on PostgreSQL: which process holds them when several take them, or when the database fails."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import pytest
from django.db import OperationalError, connection

from ingestion.jobs.leases import take_lease, take_leases
from ingestion.models import Lease

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def slow_inserts(transactional_db: None) -> Iterator[None]:
    """Let PostgreSQL wait before each row of an insert, so that inserts of two connections overlap."""
    with connection.cursor() as cursor:
        cursor.execute("""
            CREATE FUNCTION wait_before_lease() RETURNS trigger LANGUAGE plpgsql
            AS $$ BEGIN PERFORM pg_sleep(.3); RETURN NEW; END $$;
            CREATE TRIGGER wait_before_lease BEFORE INSERT ON ingestion_lease
            FOR EACH ROW EXECUTE FUNCTION wait_before_lease()
        """)
    yield
    with connection.cursor() as cursor:
        cursor.execute("DROP FUNCTION wait_before_lease CASCADE")


def test_two_processes_that_name_leases_in_opposite_order_do_not_deadlock(slow_inserts: None) -> None:
    both_ready = Barrier(2)

    def take(names: tuple[str, str]) -> list[str]:
        both_ready.wait()
        try:
            return list(take_leases(names, NOW, MINUTE).names)
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as threads:
        held = list(threads.map(take, [("a", "b"), ("b", "a")]))

    assert sorted(map(sorted, held)) == [[], ["a", "b"]]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("statement", "place"), [("UPDATE", 0), ("SELECT", 1)])
def test_after_an_error_of_the_database_other_processes_get_the_leases(statement: str, place: int) -> None:
    """The second SELECT reads which leases the process got."""
    take_lease("expired", NOW - 2 * MINUTE, MINUTE)
    seen: list[str] = []

    def fail(execute: Any, sql: str, *rest: Any) -> Any:
        if sql.startswith(statement):
            seen.append(sql)
            if len(seen) == place + 1:
                raise OperationalError("The database is restarting.")
        return execute(sql, *rest)

    with connection.execute_wrapper(fail), pytest.raises(OperationalError, match="restarting"):
        take_leases(["expired", "free"], NOW, MINUTE)

    assert take_leases(["expired", "free"], NOW, MINUTE).names == ["expired", "free"]


@pytest.mark.django_db
def test_leases_are_renewed_only_if_all_are_still_held() -> None:
    held = take_leases(["a", "b"], NOW, MINUTE)

    is_renewed = held.renew(NOW + 2 * MINUTE)
    Lease.objects.filter(name="b").update(holder="another process")
    is_renewed_without_b = held.renew(NOW + 3 * MINUTE)

    assert (is_renewed, is_renewed_without_b) == (True, False)


@pytest.mark.django_db
def test_a_lease_that_is_renewed_while_another_process_takes_it_stays() -> None:
    late = take_leases(["work"], NOW - 2 * MINUTE, MINUTE)
    renewed: list[bool] = []

    def renew_before_update(execute: Any, sql: str, *rest: Any) -> Any:
        if sql.startswith("UPDATE") and not renewed:
            renewed.append(True)
            renewed[0] = late.renew(NOW + MINUTE)
        return execute(sql, *rest)

    with connection.execute_wrapper(renew_before_update):
        other = take_lease("work", NOW, MINUTE)

    assert renewed == [True]
    assert other is None
    assert late.renew(NOW + 2 * MINUTE)
