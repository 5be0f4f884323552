"""Judge a run before it touches the catalogue: is this the source we know, and all of it?"""

from dataclasses import dataclass
from typing import Final

from ingestion.models import IngestionRun

Status = IngestionRun.Status


@dataclass(frozen=True)
class QualityLimits:
    """From which share on a run is no plain success; all are shares of rows.

    Attributes:
        rejected: above it the run is partial.
        gone: above it, of the known rows of a resource, the source was reset.
        changed: above it, of the rows seen again, rows mean something else: the source was reset.
    """

    rejected: float = 0.05
    missing: float = 0.5
    reidentified: float = 0.2


@dataclass(frozen=True)
class ResourceAssessment:
    """What was read of one resource; counts of rows.

    Attributes:
        available: rows the catalogue held before, available ones only.
        seen_again: those of them that were sent again.
        reidentified: rows sent again under a known id with another identity.
        distinct: different rows that were sent; a key that came twice counts once.
        doubled_keys: some keys that came more than once.
        one_answer: all rows came in one answer of the source, so that a row sent twice hides no other.
        is_usually_short: the source sends fewer rows than it reports every day, and the known ones came.
        has_identity: whether the source gives these rows ids that could be re-used.
    """

    resource: str
    received: int
    total: int
    rejected: int
    stable: bool
    shifts: int
    available: int
    seen_again: int
    reidentified: int
    distinct: int
    is_usually_short: bool
    has_identity: bool
    one_answer: bool = False
    doubled_keys: tuple[int, ...] = ()

    @property
    def label(self) -> str:
        return self.resource.replace("_", " ")


@dataclass(frozen=True)
class QualityGateResult:
    """How a run ends: `kind` is the first reason's machine word, `reason` all of them in sentences.

    Attributes:
        new_catalogue: the source was reset, and a person accepted that.
    """

    status: str
    kind: str = ""
    reason: str = ""
    new_catalogue: bool = False

    @property
    def is_refusal(self) -> bool:
        return self.status == Status.REFUSED


DOUBLED_ROWS: Final = "doubled_rows"
HOW_TO_GO_ON: Final = (
    "Nothing was written. If the source really has a new catalogue, run again with --accept-reset."
)


def check_quality(
    assessments: list[ResourceAssessment], limits: QualityLimits, *, accept_reset: bool = False
) -> QualityGateResult:
    """Whether what was read may be applied, and what the run may be called.

    A reset source is refused, unless a person accepted it. Pages that kept moving, a total that lies and
    too many refused rows make a run partial: what is sure is applied, and nothing counts as missing.
    """
    resets = [reason for one in assessments for reason in _signs_of_reset(one, limits)]
    if resets and not accept_reset:
        return QualityGateResult(Status.REFUSED, "source_reset", " ".join([*resets, HOW_TO_GO_ON]))
    doubts = [doubt for one in assessments for doubt in _doubts(one, limits)]
    if doubts:
        kind, reason = doubts[0][0], " ".join(reason for _, reason in doubts)
        return QualityGateResult(Status.PARTIAL, kind, reason, new_catalogue=bool(resets))
    return QualityGateResult(Status.SUCCEEDED, new_catalogue=bool(resets))


def _signs_of_reset(one: ResourceAssessment, limits: QualityLimits) -> list[str]:
    if not one.has_identity:
        return []
    signs = []
    gone = one.available - one.seen_again
    if gone > limits.missing * one.available:
        signs.append(
            f"{gone:,} of {one.available:,} known {one.label} are gone ({gone / one.available:.0%}, "
            f"limit {limits.missing:.0%})."
        )
    if one.reidentified > limits.reidentified * one.seen_again:
        signs.append(
            f"{one.reidentified:,} of {one.seen_again:,} known ids of {one.label} now mean something else "
            f"({one.reidentified / one.seen_again:.0%}, limit {limits.reidentified:.0%})."
        )
    return signs


def _doubled_rows(one: ResourceAssessment) -> str:
    # A page that is sent twice, or rows without a strict order, hide as many other rows as they double.
    keys = f" (such as {', '.join(map(str, one.doubled_keys))})" if one.doubled_keys else ""
    return (
        f"The source reports {one.total:,} {one.label} and sent {one.distinct:,} different ones: "
        f"{one.received - one.distinct:,} rows came more than once{keys}, so others may be missing."
    )


def _doubts(one: ResourceAssessment, limits: QualityLimits) -> list[tuple[str, str]]:
    """Kind and sentence of each reason why this resource may not be whole."""
    doubts = []
    if not one.stable:
        doubts.append(
            ("unstable_pages", f"Rows of {one.label} moved while they were read, {one.shifts} times over.")
        )
    doubled = one.received - one.distinct
    expected = one.total - doubled if one.one_answer else one.total
    if doubled and one.distinct < expected:
        doubts.append((DOUBLED_ROWS, _doubled_rows(one)))
    elif one.distinct != expected and not one.is_usually_short:
        doubts.append(
            ("lying_total", f"The source reports {one.total:,} {one.label} and sent {one.distinct:,}.")
        )
    if one.rejected > limits.rejected * one.received:
        share = f"{one.rejected / one.received:.1%}, limit {limits.rejected:.0%}"
        reason = f"{one.rejected:,} of {one.received:,} rows of {one.label} were refused ({share})."
        doubts.append(("too_many_rejected", reason))
    return doubts
