"""Decides whether a run's data may be written: is it still the same catalogue, and is it complete?"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from ingestion.models import IngestionRun
from ingestion.models.runs import SOURCE_INCOMPLETE
from ingestion.pipeline.change_detection import UNKNOWN_USER
from ingestion.source.repairs import ABSENT, CLEANED, TAKEN_FROM, UNREADABLE
from ingestion.source.schemas import Resource

Status = IngestionRun.Status


@dataclass(frozen=True)
class QualityLimits:
    """Limits of the quality gate; each is a share of rows, 0 to 1."""

    rejected: float = 0.05  # with more rejected rows the run is partial
    missing: float = 0.5  # if more of a resource's known rows are missing, the source counts as reset
    # If more of the rows seen again mean another song or listener, the source counts as reset; also the limit
    # for a field that became empty.
    reidentified: float = 0.2


@dataclass(frozen=True)
class ResourceAssessment:
    """What the run read of one resource; all counts are rows."""

    resource: str
    received: int
    total: int
    rejected: int
    stable: bool
    shifts: int
    available: int  # rows that the catalogue had before
    seen_again: int  # available rows that were sent again
    reidentified: int  # rows sent again whose id now means another song or listener
    distinct: int  # different rows that were sent; a key that came twice counts once
    is_usually_short: bool  # fewer rows than reported are normal for this source, and no more are missing
    has_identity: bool  # whether the rows have ids that a reset source would reuse
    one_answer: bool = False  # all rows came in one response, so a row sent twice cannot hide another one
    doubled_keys: tuple[int, ...] = ()  # examples of keys that came more than once
    explained: int = 0  # unsent sessions that are too old for the source to keep
    unrecognised: int = 0  # rejected rows that belong to no available row
    # Field, reason and number of rows of the most frequent rejections.
    reasons: tuple[tuple[str, str, int], ...] = ()
    # Field to the number of rows seen again in which it became empty or, for a time, equal to the other one.
    emptied: Mapping[str, int] = field(default_factory=dict)
    # Kind of format change of rows seen again, to its number of rows.
    rewritten: Mapping[str, int] = field(default_factory=dict)
    # Field that is not part of the contract, to its number of rows.
    unknown_fields: Mapping[str, int] = field(default_factory=dict)
    # Repair, such as a converted time or an emptied field, to its number of rows.
    corrections: Mapping[str, int] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return self.resource.replace("_", " ")


@dataclass(frozen=True)
class QualityGateResult:
    """The gate's verdict; `kind` is the code of the first reason, `reason` the text of all."""

    status: str
    kind: str = ""
    reason: str = ""
    new_catalogue: bool = False  # the source was reset, and an operator accepted it
    held: frozenset[str] = frozenset()  # resources of which nothing may be written

    @property
    def is_refusal(self) -> bool:
        return self.status == Status.REFUSED


TIMES: Final = {"created_at", "updated_at"}
DOUBLED_ROWS: Final = "doubled_rows"
FORM_CHANGED: Final = "form_changed"
HISTORY_GONE: Final = "history_gone"
HOW_TO_GO_ON: Final = (
    "Nothing was written. If the source really has a new catalogue, run again with --accept-reset."
)
FIX_THE_FORM_FIRST: Final = (
    "Nothing was written. The format of the rows changed, too: ask the source's operator about that before "
    "anything else."
)
ASK_ABOUT_EMPTY_LISTS: Final = (
    "Nothing was written. An empty list is rather a fault of the source than a new catalogue: ask its "
    "operator before anything else. With --accept-reset all these rows become unavailable."
)
HISTORY_ADVICE: Final = (
    "They stay in use. If the source keeps only recent sessions, set HISTORY_RETENTION; if it really deleted "
    "them, run again with --accept-reset."
)


def check_quality(
    assessments: list[ResourceAssessment], limits: QualityLimits, *, accept_reset: bool = False
) -> QualityGateResult:
    """The status that the run gets, and whether its data may be written.

    Refused if the source was reset, unless the operator accepts that. Partial if rows moved between pages,
    totals do not match, too many rows are rejected, most rows have a field in another format, or many known
    sessions are missing: valid rows are written, but none is marked as missing.
    """
    resets = [reason for one in assessments for reason in _signs_of_reset(one, limits)]
    changed_forms = [reason for one in assessments for reason in _changed_forms(one, limits)]
    if resets and not accept_reset:
        is_empty = any(not one.received and _signs_of_reset(one, limits) for one in assessments)
        advice = ASK_ABOUT_EMPTY_LISTS if is_empty else HOW_TO_GO_ON
        advice = FIX_THE_FORM_FIRST if changed_forms else advice
        return QualityGateResult(Status.REFUSED, "source_reset", " ".join([*resets, *changed_forms, advice]))
    doubts = [doubt for one in assessments for doubt in _doubts(one, limits, accept_reset=accept_reset)]
    if not doubts:
        return QualityGateResult(Status.SUCCEEDED, new_catalogue=bool(resets))
    return QualityGateResult(
        Status.PARTIAL,
        kind=doubts[0][0],
        reason=" ".join(reason for _, reason in doubts),
        new_catalogue=bool(resets),
        held=frozenset(one.resource for one in assessments if is_held(one, limits)),
    )


def is_held(one: ResourceAssessment, limits: QualityLimits) -> bool:
    """Whether no row of the resource may be written, because most known rows would lose their values."""
    return bool(_emptied_fields(one, limits) or _rewrites(one, limits))


def mark_incomplete(result: QualityGateResult, failures: Mapping[str, str]) -> QualityGateResult:
    """The result for a run that could not read these lists: partial, with the error of each."""
    errors = [
        f"The {resource.replace('_', ' ')} could not be read: {error}."
        for resource, error in failures.items()
    ]
    left = "" if Resource.LISTENING_HISTORY in failures else " The listening history waits for them."
    applied = f"The lists that were read are imported.{left}"
    return replace(
        result,
        status=Status.PARTIAL,
        kind=SOURCE_INCOMPLETE,
        reason=" ".join(filter(None, [*errors, applied, result.reason])),
    )


def _signs_of_reset(one: ResourceAssessment, limits: QualityLimits) -> list[str]:
    if not one.has_identity:
        return []
    signs = []
    gone = one.available - one.seen_again
    # A rejected row that matches no known row may be one whose id has a new format; it is not missing.
    if gone - one.unrecognised > limits.missing * one.available:
        signs.append(
            f"{gone:,} of {one.available:,} known {one.label} are missing ({gone / one.available:.0%}, "
            f"limit {limits.missing:.0%})."
        )
    if one.reidentified > limits.reidentified * one.seen_again:
        signs.append(
            f"{one.reidentified:,} of {one.seen_again:,} known ids of {one.label} now mean something else "
            f"({one.reidentified / one.seen_again:.0%}, limit {limits.reidentified:.0%})."
        )
    return signs


def _doubled_rows(one: ResourceAssessment) -> str:
    # If a page comes twice, or rows have no strict order, each doubled row takes the place of another.
    keys = f" (such as {', '.join(map(str, one.doubled_keys))})" if one.doubled_keys else ""
    return (
        f"The source reports {one.total:,} {one.label} and sent {one.distinct:,} different ones: "
        f"{one.received - one.distinct:,} rows came more than once{keys}, so others may be missing."
    )


def _doubts(one: ResourceAssessment, limits: QualityLimits, *, accept_reset: bool) -> list[tuple[str, str]]:
    doubts = []
    if not one.stable:
        doubts.append(
            ("unstable_pages", f"Rows of {one.label} moved while they were read, {one.shifts} times over.")
        )
    doubled = one.received - one.distinct
    # The total may count a row that is sent twice once or twice. Among several responses it may hide another.
    is_whole = one.distinct == one.total or (one.one_answer and one.received == one.total)
    if doubled and one.distinct < one.total and not is_whole:
        doubts.append((DOUBLED_ROWS, _doubled_rows(one)))
    elif not is_whole and not one.is_usually_short:
        doubts.append(
            ("lying_total", f"The source reports {one.total:,} {one.label} and sent {one.distinct:,}.")
        )
    doubts += [(FORM_CHANGED, reason) for reason in _changed_forms(one, limits)]
    if one.rejected > limits.rejected * one.received:
        share = f"{one.rejected / one.received:.1%}, limit {limits.rejected:.0%}"
        reason = f"{one.rejected:,} of {one.received:,} rows of {one.label} were rejected ({share})."
        causes = "; ".join(f"{field} {why} ({rows:,})".strip() for field, why, rows in one.reasons)
        doubts.append(("too_many_rejected", f"{reason} Reasons: {causes}." if causes else reason))
    if not one.has_identity and not accept_reset:
        doubts += _history_gone(one, limits)
    return doubts


def _history_gone(one: ResourceAssessment, limits: QualityLimits) -> list[tuple[str, str]]:
    """The reason why the run is incomplete, with its code, if too many known sessions are missing; else [].

    Missing sessions do not prove that the source was reset.
    """
    expected = one.available - one.explained
    gone = expected - one.seen_again
    if gone - one.unrecognised <= limits.missing * expected:
        return []
    reason = (
        f"{gone:,} of {expected:,} known sessions of the {one.label} were not sent ({gone / expected:.0%}, "
        f"limit {limits.missing:.0%}). {HISTORY_ADVICE}"
    )
    return [(HISTORY_GONE, reason)]


def _changed_forms(one: ResourceAssessment, limits: QualityLimits) -> list[str]:
    """A message for each field whose format, in most rows, differs from the agreed one."""
    sentences = [
        f"The format of {one.label} changed: {field} {why} in {rows:,} of {one.received:,} rows."
        for field, why, rows in one.reasons
        if field and rows > limits.missing * one.received and why != UNKNOWN_USER
    ]
    sentences += [
        f"The format of {one.label} changed: {field} became empty in {rows:,} of {one.seen_again:,} known "
        f"rows; no {one.label} were written."
        for field, rows in _emptied_fields(one, limits).items()
    ]
    sentences += [
        f"The format of {one.label} changed: {how} in {rows:,} of {one.seen_again:,} known rows; no "
        f"{one.label} were written."
        for how, rows in _rewrites(one, limits).items()
    ]
    fresh = [name for name, rows in one.unknown_fields.items() if rows > limits.missing * one.received]
    if not one.available:
        # The first import has no earlier rows to compare with.
        sentences += [
            f"{what} in {rows:,} of {one.received:,} rows of {one.label}."
            for what, rows in one.corrections.items()
            if rows > limits.missing * one.received and _is_doubtful_at_first(what, has_new_field=bool(fresh))
        ]
    if sentences and fresh:
        sentences.append(f"Most of these rows have the unknown field {' and '.join(sorted(fresh)[:3])}.")
    return sentences


def _is_doubtful_at_first(correction: str, *, has_new_field: bool) -> bool:
    """Whether a correction of most rows makes a first import doubtful."""
    if UNREADABLE in correction or correction.endswith(CLEANED):
        return True
    # An absent field may have been renamed.
    return has_new_field and (correction.endswith(ABSENT) or TAKEN_FROM in correction)


def _emptied_fields(one: ResourceAssessment, limits: QualityLimits) -> dict[str, int]:
    """Fields that became empty in so many known rows that writing them would lose data, with the count."""
    return {
        field: rows
        for field, rows in one.emptied.items()
        if rows > _most_edits(one, limits) and (field not in TIMES or _was_replaced(field, one))
    }


def _rewrites(one: ResourceAssessment, limits: QualityLimits) -> dict[str, int]:
    return {how: rows for how, rows in one.rewritten.items() if rows > _most_edits(one, limits)}


def _most_edits(one: ResourceAssessment, limits: QualityLimits) -> float:
    """How many rows may change in the same way before this counts as a change of form; at least one."""
    return max(1.0, limits.reidentified * one.seen_again)


def _was_replaced(time: str, one: ResourceAssessment) -> bool:
    """Whether this time of some rows was unreadable and was replaced by their other time."""
    return any(what.startswith(time) and TAKEN_FROM in what for what in one.corrections)
