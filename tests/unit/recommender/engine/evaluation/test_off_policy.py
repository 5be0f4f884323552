"""Off-policy estimates of a model from the logged lists of another one."""

import numpy as np
import pytest

from recommender.engine.evaluation.off_policy import OffPolicyEstimate, estimate_off_policy


def logged(
    seed: int, old: np.ndarray, new: np.ndarray, rates: np.ndarray, lists: int = 6_000
) -> OffPolicyEstimate:
    random = np.random.default_rng(seed)
    shown = random.choice(len(old), lists, p=old)
    rewards = (random.random(lists) < rates[shown]).astype(float)
    return estimate_off_policy(rewards, old[shown], new[shown], random.integers(0, 300, lists), seed=seed)


OLD = np.array([0.5, 0.3, 0.15, 0.05])
NEW = np.array([0.3, 0.4, 0.2, 0.1])
RATES = np.array([0.2, 0.5, 0.4, 0.1])


def test_the_reward_of_a_new_model_is_estimated_from_logged_lists() -> None:
    found = logged(1, OLD, NEW, RATES)

    assert found.new == pytest.approx(float(NEW @ RATES), abs=0.02)
    assert found.old == pytest.approx(float(OLD @ RATES), abs=0.02)
    assert found.support == pytest.approx(1, abs=0.05)
    assert found.low < float((NEW - OLD) @ RATES) < found.high


@pytest.mark.slow
def test_the_interval_covers_the_true_reward_about_as_often_as_stated() -> None:
    truth = float((NEW - OLD) @ RATES)

    covered = [
        found.low <= truth <= found.high
        for found in (logged(seed, OLD, NEW, RATES, 1_500) for seed in range(50))
    ]

    assert 0.88 <= np.mean(covered) <= 1


def test_a_significantly_worse_model_is_rejected() -> None:
    found = logged(2, OLD, np.array([0.85, 0.05, 0.05, 0.05]), np.array([0.05, 0.6, 0.6, 0.6]))

    assert found.is_reliable
    assert found.is_gross_harm


def test_the_same_model_is_not_rejected() -> None:
    assert not logged(3, OLD, OLD, RATES).is_gross_harm


def test_a_model_with_songs_that_were_never_shown_gets_no_opinion() -> None:
    found = logged(4, OLD, np.array([0.05, 0.05, 0.0, 0.0]), RATES)

    assert found.support < 0.85
    assert not found.is_reliable


def test_weights_on_a_few_lists_give_no_opinion() -> None:
    found = logged(5, np.array([0.97, 0.01, 0.01, 0.01]), np.array([0.01, 0.97, 0.01, 0.01]), RATES)

    assert found.effective < 0.3
    assert not found.is_reliable


def test_few_listeners_give_no_opinion() -> None:
    listeners = np.arange(49)

    found = estimate_off_policy(np.ones(49), np.full(49, 0.5), np.full(49, 0.5), listeners, seed=1)

    assert not found.is_reliable


def test_lists_of_one_listener_are_one_observation() -> None:
    random = np.random.default_rng(6)
    rewards = np.repeat(random.random(60) < 0.5, 50).astype(float)
    new = np.repeat(random.random(60), 50)
    owners = np.repeat(np.arange(60), 50)

    by_listener = estimate_off_policy(rewards, np.full(3_000, 0.5), new, owners, seed=1)
    by_list = estimate_off_policy(rewards, np.full(3_000, 0.5), new, np.arange(3_000), seed=1)

    assert by_listener.high - by_listener.low > 5 * (by_list.high - by_list.low)


def test_no_lists_give_no_opinion() -> None:
    nothing = np.empty(0)

    assert not estimate_off_policy(nothing, nothing, nothing, nothing.astype(int), seed=1).is_reliable
