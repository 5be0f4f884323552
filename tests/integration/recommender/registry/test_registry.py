"""Promotions and rollbacks: roles, refusals, and the record of each promotion."""

import pytest
from django.utils import timezone

from ingestion.models import IngestionRun
from recommender.models import ImmutableRow, ModelVersion, Promotion
from recommender.registry import registry
from recommender.registry.registry import (
    ChampionChanged,
    NothingToRollBack,
    NotPromotable,
    ReasonMissing,
    UnknownVersion,
)
from tests.support.project import Project

pytestmark = pytest.mark.django_db


def version(label: str, method: str = "mix") -> ModelVersion:
    now = timezone.now()
    return ModelVersion.objects.create(
        label=label, method=method, created_at=now, cut_off=now, n_songs=1, n_listeners=1, n_plays=1,
        n_clusters=1, seed=7, artifact_sha256="0" * 64, seconds=1, cpu_seconds=1, peak_memory=1,
    )  # fmt: skip


def sound(_: ModelVersion) -> None:
    """Accept every artifact."""


def promote(one: ModelVersion) -> Promotion:
    return registry.promote(one, reason="better", by="test", verify=sound)


def roles() -> dict[str, str]:
    return dict(ModelVersion.objects.order_by("id").values_list("label", "role"))


def test_a_promotion_retires_the_old_champion_and_is_recorded() -> None:
    first, second = version("a"), version("b")
    promote(first)

    promotion = promote(second)

    assert roles() == {"a": "retired", "b": "champion"}
    assert (promotion.promoted, promotion.replaced, promotion.rollback) == (second, first, False)
    assert [(line.promoted.label, line.reason, line.by) for line in Promotion.objects.order_by("id")] == [
        ("a", "better", "test"),
        ("b", "better", "test"),
    ]


def test_a_second_rollback_goes_further_back_and_no_withdrawn_version_returns() -> None:
    for label in "abc":
        promote(version(label))

    once = registry.roll_back(reason="bad", by="test", verify=sound)
    after_once = roles()
    registry.roll_back(reason="bad", by="test", verify=sound)

    assert after_once == {"a": "retired", "b": "champion", "c": "withdrawn"}
    assert roles() == {"a": "champion", "b": "withdrawn", "c": "withdrawn"}
    assert once.rollback
    with pytest.raises(NothingToRollBack, match="no good version before a"):
        registry.roll_back(reason="bad", by="test", verify=sound)
    with pytest.raises(NotPromotable, match="never returns"):
        promote(ModelVersion.objects.get(label="c"))


def test_a_rollback_skips_versions_with_a_damaged_artifact() -> None:
    for label in "abc":
        promote(version(label))

    def verify(one: ModelVersion) -> None:
        if one.label == "b":
            raise ValueError("flipped bit")

    registry.roll_back(reason="bad", by="test", verify=verify)

    assert roles() == {"a": "champion", "b": "retired", "c": "withdrawn"}


def test_a_version_with_a_damaged_artifact_is_not_promoted() -> None:
    promote(version("a"))
    damaged = version("b")

    def verify(_: ModelVersion) -> None:
        raise ValueError("flipped bit")

    with pytest.raises(ValueError, match="flipped bit"):
        registry.promote(damaged, reason="better", by="test", verify=verify)

    assert roles() == {"a": "champion", "b": "candidate"}
    assert Promotion.objects.count() == 1


def test_the_champion_is_not_promoted_again() -> None:
    first = version("a")
    promote(first)

    with pytest.raises(NotPromotable, match="champion already"):
        promote(first)


def test_without_a_champion_there_is_nothing_to_roll_back() -> None:
    with pytest.raises(NothingToRollBack, match="retrain"):
        registry.roll_back(reason="bad", by="test", verify=sound)


def test_the_first_model_becomes_champion_only_if_there_is_none() -> None:
    promote(version("a"))

    with pytest.raises(ChampionChanged, match="a has become champion"):
        registry.promote(version("b"), reason="first", by="training", verify=sound, only_if_no_champion=True)


def test_former_champions_are_ordered_latest_first() -> None:
    for label in "abcd":
        promote(version(label))
    version("never promoted")

    assert [one.label for one in registry.former_champions()] == ["c", "b", "a"]


def test_the_error_for_an_unknown_label_names_the_latest_versions() -> None:
    version("2026w47.1")

    with pytest.raises(UnknownVersion, match=r"no version x\. The latest are: 2026w47\.1\."):
        registry.find_version("x")


def test_a_saved_version_can_not_be_changed() -> None:
    first = version("a")
    first.seed = 8

    with pytest.raises(ImmutableRow):
        first.save()


def test_without_a_version_the_error_says_how_to_train_one() -> None:
    with pytest.raises(UnknownVersion, match=r"no model yet\. Train one: python manage\.py retrain"):
        registry.find_version("x")


def test_promotions_and_rollbacks_need_a_reason() -> None:
    promote(version("a"))

    with pytest.raises(ReasonMissing, match="Give a reason"):
        registry.promote(version("b"), reason=" ", by="test", verify=sound)
    with pytest.raises(ReasonMissing, match="Give a reason"):
        registry.roll_back(reason="", by="test", verify=sound)

    assert roles() == {"a": "champion", "b": "candidate"}


def test_a_rollback_does_not_withdraw_a_champion_promoted_during_its_verification() -> None:
    for label in "ab":
        promote(version(label))

    def meanwhile(_: ModelVersion) -> None:
        promote(version("c"))

    with pytest.raises(ChampionChanged, match="The champion is now c, no longer b"):
        registry.roll_back(reason="bad", by="test", verify=meanwhile)

    assert roles() == {"a": "retired", "b": "retired", "c": "champion"}


def test_a_rollback_withdraws_only_the_version_that_was_judged() -> None:
    first, second, third = (version(label) for label in "abc")
    for one in (first, second, third):
        promote(one)

    # Two processes find that c is damaged, and both roll it back.
    registry.roll_back(reason="damaged", by="test", verify=sound, judged=third)
    with pytest.raises(ChampionChanged, match="The champion is now b, no longer c"):
        registry.roll_back(reason="damaged", by="test", verify=sound, judged=third)

    assert roles() == {"a": "retired", "b": "champion", "c": "withdrawn"}


def test_a_rollback_after_a_catalogue_reset_says_that_there_is_no_champion() -> None:
    first, second = version("a"), version("b")
    for one in (first, second):
        promote(one)
    at = timezone.now()

    def reset(_: ModelVersion) -> None:
        IngestionRun.objects.create(
            trigger="command", status="succeeded", new_catalogue=True, started_at=at, heartbeat_at=at,
            finished_at=at, pid=1, host="h", process_started=0.0,
        )  # fmt: skip

    # During the verification, and before a second click.
    for _ in range(2):
        with pytest.raises(NothingToRollBack, match="no model has been trained on it yet"):
            registry.roll_back(reason="bad", by="test", verify=reset, judged=second)

    assert roles() == {"a": "retired", "b": "champion"}


def test_versions_of_either_method_take_turns_as_champion() -> None:
    promote(version("a", method="mix"))
    promote(version("b", method="classic"))
    promote(version("c", method="mix"))

    registry.roll_back(reason="bad", by="test", verify=sound)

    assert roles() == {"a": "retired", "b": "champion", "c": "withdrawn"}


# Threads that change roles at once, run in a process of its own on either database.
RACE = """
from threading import Barrier, Thread
from django.db import connection
from django.utils import timezone
from recommender.registry import registry
from recommender.models import ModelVersion, Promotion

def version(label):
    now = timezone.now()
    return ModelVersion.objects.create(
        label=label, method="mix", created_at=now, cut_off=now, n_songs=1, n_listeners=1, n_plays=1,
        n_clusters=1, seed=7, artifact_sha256="0" * 64, seconds=1, cpu_seconds=1, peak_memory=1)

def promote(one):
    registry.promote(one, reason=one.label, by="test", verify=lambda _: None)

def at_once(deed, versions):
    barrier, refused = Barrier(len(versions)), []
    def run(one):
        try:
            connection.ensure_connection()
            barrier.wait()
            deed(one)
        except registry.ChampionChanged as busy:
            refused.append(busy)
        finally:
            connection.close()
    threads = [Thread(target=run, args=(one,)) for one in versions]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    return len(refused)

def told():
    roles = sorted(ModelVersion.objects.values_list("role", flat=True))
    last = Promotion.objects.first().promoted
    return roles, Promotion.objects.count(), last.role
"""


@pytest.mark.slow
def test_concurrent_promotions_all_happen_and_leave_one_champion(project: Project) -> None:
    told = project.shell(
        f"{RACE}\nrefused = at_once(promote, [version(x) for x in 'abcd'])\nprint(refused, *told())"
    )

    assert told == "0 ['champion', 'retired', 'retired', 'retired'] 4 champion"
