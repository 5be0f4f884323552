"""Staff who block a word and a training that stores clusters at the same moment, on two connections."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from django.db import connection, transaction

from recommender.models import Cluster, NameWord
from recommender.registry.cluster_name_rules import apply_name_rules
from tests.support.builders.experiments import make_version

pytestmark = pytest.mark.django_db(transaction=True)
WAITING = """
    SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
    WHERE NOT granted AND datname = current_database()
"""


def block_word() -> None:
    NameWord.objects.create(word="Polka")
    apply_name_rules()


def store_clusters() -> None:
    version = make_version("2026w49.1")
    Cluster.objects.create(version=version, number=1, position=1, name="Polka, 1990s", size=9)
    apply_name_rules(version=version)


def in_transaction(write: Callable[[], None]) -> None:
    try:
        with transaction.atomic():
            write()
    finally:
        connection.close()


def wait_until_blocked(other: "Future[None]") -> None:
    """Return when the other connection waits for a lock, or has ended."""
    with connection.cursor() as cursor:
        while not other.done():
            cursor.execute(WAITING)
            if cursor.fetchone() != (0,):
                return


@pytest.mark.parametrize(("first", "second"), [(block_word, store_clusters), (store_clusters, block_word)])
def test_a_word_blocked_while_a_training_stores_its_clusters_is_in_none_of_their_names(
    first: Callable[[], None], second: Callable[[], None]
) -> None:
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            first()
            other = pool.submit(in_transaction, second)
            wait_until_blocked(other)
        other.result()

    assert Cluster.objects.get().name == ""
