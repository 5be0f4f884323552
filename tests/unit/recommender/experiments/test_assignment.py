"""Assignment of lists to experiments: sticky, by shares, independent of everything else."""

from collections import Counter
from datetime import date, timedelta

import pytest

from recommender.experiments.assignment import CHAMPION_ONLY, assign_arm, hash_to_share
from recommender.models import Experiment

DAY = date(2026, 11, 23)


def a_test(pk: int = 1, kind: str = "change", **shares: float) -> Experiment:
    return Experiment(pk=pk, kind=kind, **{"list_share": 0.0, "split_share": 0.0, **shares})


def counted(tests: list[Experiment], listeners: int = 4_000) -> Counter[tuple[str, int | None]]:
    found = [assign_arm(listener, DAY, tests) for listener in range(listeners)]
    return Counter((one.arm.value, one.experiment.pk if one.experiment else None) for one in found)


def test_without_an_experiment_the_champion_serves_alone() -> None:
    assert assign_arm(1, DAY, []) == CHAMPION_ONLY


def test_lists_are_assigned_to_experiment_and_holdback_by_their_shares() -> None:
    counts = counted([a_test(1, list_share=0.7), a_test(2, "anchor", list_share=0.3)])

    assert counts["interleaved", 1] / 4_000 == pytest.approx(0.7, abs=0.03)
    assert counts["interleaved", 2] / 4_000 == pytest.approx(0.3, abs=0.03)


def test_the_start_of_an_experiment_moves_no_list_of_the_holdback() -> None:
    anchor = a_test(2, "anchor", list_share=0.3)

    before = {one for one in range(500) if assign_arm(one, DAY, [anchor]).experiment is anchor}
    both = [anchor, a_test(3, list_share=0.7)]
    after = {one for one in range(500) if assign_arm(one, DAY, both).experiment is anchor}

    assert before == after


def test_a_listener_s_assignment_is_the_same_all_day_and_may_differ_the_next_day() -> None:
    tests = [a_test(1, list_share=0.5)]
    days = [DAY + timedelta(days=number) for number in range(200)]

    arms = [assign_arm(7, day, tests).arm for day in days]

    assert arms == [assign_arm(7, day, tests).arm for day in days]
    assert 70 <= sum(arm == "interleaved" for arm in arms) <= 130


def test_listeners_of_the_split_get_one_model_alone_every_day() -> None:
    tests = [a_test(1, list_share=0.7, split_share=0.2)]

    counts = counted(tests)

    assert counts["challenger", 1] / 4_000 == pytest.approx(0.1, abs=0.02)
    assert counts["champion", 1] / 4_000 == pytest.approx(0.1, abs=0.02)
    split = [one for one in range(300) if assign_arm(one, DAY, tests).arm == "challenger"]
    assert all(assign_arm(one, DAY + timedelta(days=9), tests).arm == "challenger" for one in split)


def test_another_experiment_splits_listeners_differently() -> None:
    first = {
        one for one in range(400) if assign_arm(one, DAY, [a_test(1, split_share=1.0)]).arm == "challenger"
    }
    second = {
        one for one in range(400) if assign_arm(one, DAY, [a_test(2, split_share=1.0)]).arm == "challenger"
    }

    assert 60 <= len(first & second) <= 140


def test_the_hash_share_uses_the_first_eight_bytes_of_blake2b() -> None:
    assert hash_to_share(1, 470) == pytest.approx(0.07503134267072872)
