"""The code of decisions is recorded, so that a later version knows who decided."""

from recommender.experiments import decisions


def test_the_code_of_this_version_is_recorded() -> None:
    """If this fails, CODE_OF_THIS_VERSION says what to do."""
    assert decisions.decision_code_digest() == decisions.CODE_OF_THIS_VERSION


def test_code_of_an_earlier_version_is_another() -> None:
    assert decisions.CODE_OF_THIS_VERSION not in decisions.CODE_OF_EARLIER_VERSIONS
