import pytest

from benchmarks.__main__ import build_parser, exit_code
from benchmarks.growth import growth
from benchmarks.growth.growth import PARTS, Measured, fit_exponent
from benchmarks.report import Report


@pytest.mark.parametrize(
    ("costs", "exponent"), [([3.0, 6.0, 12.0], 1.0), ([5.0, 5.0, 5.0], 0.0), ([1.0, 4.0, 16.0], 2.0)]
)
def test_the_exponent_is_the_slope_of_the_logarithms(costs: list[float], exponent: float) -> None:
    assert fit_exponent([100, 200, 400], costs) == pytest.approx(exponent)


def test_growth_above_a_bound_is_a_failure_and_names_its_sizes() -> None:
    def found(*seconds: float) -> Report:
        measured = [Measured(one, 50e6 * one) for one in seconds]
        return Report({}, [growth._finding(PARTS["lists"], [5_000, 10_000, 20_000], measured)])

    linear, quadratic = found(1.0, 2.0, 4.0), found(1.0, 4.0, 16.0)

    assert linear.findings[0].cells() == (
        "daily review by lists: 5 000 / 10 000 / 20 000", "1 / 2 / 4 CPU s, 200 MB", "-", "1.00", "<= 1.05",
        "yes",
    )  # fmt: skip
    assert (exit_code(linear, must_be_met=True), exit_code(quadratic, must_be_met=True)) == (0, 1)


def test_parts_and_a_factor_are_chosen_on_the_command_line() -> None:
    chosen = build_parser().parse_args(["growth", "--only", "lists", "--only", "plays", "--factor", "10"])

    plan = growth.plan_from_arguments(chosen)

    assert plan.parts == ("lists", "plays")
    assert (plan.lists, plan.plays) == ((50_000, 100_000, 200_000), (400_000, 800_000, 1_600_000))
    # A factor changes neither histories nor numbers of workers.
    assert (plan.history, plan.workers) == ((10, 100, 1_000), (1, 2))
