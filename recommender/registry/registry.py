"""Who is champion: the only writer of a version's role, with a ledger of every change."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final

from django.db import transaction
from django.utils import timezone

from recommender import catalogue_generation
from recommender.models import ModelVersion, Promotion

Role = ModelVersion.Role
# Raises what is wrong with a version's artifact; the registry itself reads no files.
Verify = Callable[[ModelVersion], object]
NO_MODEL: Final = "There is no model yet. Train one: python manage.py retrain"
NO_CHAMPION: Final = "No version is champion. Name one: python manage.py promote LABEL --reason '...'"


class RegistryError(Exception):
    """The roles can't be changed as asked; nothing was changed."""


class UnknownVersion(RegistryError):
    """No version has this label."""


class NotPromotable(RegistryError):
    """This version may not become champion."""


class ReasonMissing(RegistryError):
    """The ledger takes no change without a reason."""


class NothingToRollBack(RegistryError):
    """There is no good version before this one."""


class Busy(RegistryError):
    """Somebody else has just changed the champion."""


def champion_row() -> ModelVersion | None:
    """The champion; None also where it was learnt of a catalogue that the source has no more."""
    return catalogue_generation.learnt_of_it(ModelVersion.objects.filter(role=Role.CHAMPION)).first()


def why_none() -> str:
    """Why there is no champion, and what to do."""
    since = catalogue_generation.replaced_at()
    if since is None or not ModelVersion.objects.exists():
        return NO_MODEL
    return (
        f"Since {since:%Y-%m-%d %H:%M} UTC the source has another catalogue, of which nothing is known yet. "
        "Train a model: python manage.py retrain"
    )


def good_versions() -> list[ModelVersion]:
    """Former champions that were not withdrawn, the latest first: what serves where the champion can't."""
    retired = catalogue_generation.learnt_of_it(ModelVersion.objects.filter(role=Role.RETIRED))
    latest: dict[int, ModelVersion] = {}
    for promotion in (
        Promotion.objects.filter(promoted__in=retired).select_related("promoted").order_by("-id")
    ):
        latest.setdefault(promotion.promoted_id, promotion.promoted)
    return list(latest.values())


def find(label: str) -> ModelVersion:
    """The version of this label.

    Raises:
        UnknownVersion: there is none; the message says what there is.
    """
    version = ModelVersion.objects.filter(label=label).first()
    if version is None:
        known = ", ".join(ModelVersion.objects.values_list("label", flat=True)[:8])
        raise UnknownVersion(f"There is no version {label}. The latest are: {known}." if known else NO_MODEL)
    return version


def promote(
    version: ModelVersion, *, reason: str, by: str, verify: Verify, only_first: bool = False
) -> Promotion:
    """Make `version` the champion, stand the old one down and write it in the ledger.

    Two at once both happen, one after the other.

    Args:
        only_first: only where there is no champion yet.

    Raises:
        NotPromotable: it is champion already, was withdrawn, or can't serve.
        ReasonMissing: the reason says nothing.
        Busy: there is a champion by now, against `only_first`.
        Exception: what `verify` finds wrong with the artifact.
    """
    _require(reason)
    verify(version)
    with _one_at_a_time():
        serving = champion_row()
        if only_first and serving is not None:
            raise Busy(f"{serving.label} has become champion.")
        return _replace(_titled(), version, demote_to=Role.RETIRED, reason=reason, by=by)


def roll_back(*, reason: str, by: str, verify: Verify) -> Promotion:
    """Withdraw the champion for good, and bring back the last good version before it.

    Rolling back twice goes further back. Versions whose artifact is damaged are passed over.

    Raises:
        NothingToRollBack: there is no champion, or no good version before it.
        ReasonMissing: the reason says nothing.
        Busy: another promotion came between.
    """
    _require(reason)
    champion = champion_row()
    if champion is None:
        raise NothingToRollBack(NO_MODEL)
    version = _last_sound(champion, verify)
    with _one_at_a_time():
        current = champion_row()
        if current != champion:
            # Whoever wanted this champion gone has seen it; nobody has judged the new one.
            raise Busy(f"The champion is {current} by now, no longer {champion}.")
        return _replace(current, version, demote_to=Role.WITHDRAWN, reason=reason, by=by)


def bring_back(version: ModelVersion, *, reason: str, by: str, verify: Verify) -> Promotion:
    """Withdraw the champion for good, and make a former champion serve again.

    Raises:
        NotPromotable: it is champion, or was withdrawn itself.
        ReasonMissing: the reason says nothing.
        Exception: what `verify` finds wrong with the artifact.
    """
    _require(reason)
    verify(version)
    with _one_at_a_time():
        return _replace(_titled(), version, demote_to=Role.WITHDRAWN, reason=reason, by=by)


def withdraw_outdated() -> list[ModelVersion]:
    """Withdraw for good what was learnt of a catalogue that the source has no more; which versions."""
    with _one_at_a_time():
        all_roles = ModelVersion.objects.exclude(role=Role.WITHDRAWN)
        outdated = list(catalogue_generation.learnt_of_another(all_roles))
        ModelVersion.objects.filter(pk__in=[one.pk for one in outdated]).update(role=Role.WITHDRAWN)
    return outdated


def challenge(version: ModelVersion) -> None:
    """Make a candidate the challenger of a test.

    Raises:
        NotPromotable: it is champion, or was withdrawn.
    """
    _move(version, Role.CHALLENGER, among=(Role.CANDIDATE, Role.CHALLENGER, Role.RETIRED))


def stand_down(version: ModelVersion, *, withdrawn: bool = False, waiting: bool = False) -> None:
    """End a challenger's part in a test; a version that is champion by now is left alone.

    Args:
        withdrawn: for good.
        waiting: as a candidate, which may be tested again.
    """
    role = Role.WITHDRAWN if withdrawn else Role.CANDIDATE if waiting else Role.RETIRED
    with _one_at_a_time():
        ModelVersion.objects.filter(pk=version.pk, role=Role.CHALLENGER).update(role=role)
    version.refresh_from_db()


def champion_at(moment: datetime) -> ModelVersion | None:
    """Who was champion then, by the ledger."""
    last = Promotion.objects.filter(at__lte=moment).select_related("promoted").order_by("-id").first()
    return last.promoted if last else None


def _titled() -> ModelVersion | None:
    """Who has the champion's title, whether it may serve or not."""
    return ModelVersion.objects.filter(role=Role.CHAMPION).first()


def _move(version: ModelVersion, role: str, *, among: tuple[str, ...]) -> None:
    with _one_at_a_time():
        if not ModelVersion.objects.filter(pk=version.pk, role__in=among).update(role=role):
            version.refresh_from_db()
            raise NotPromotable(f"{version.label} is {version.get_role_display()}: it can't be tested.")
    version.refresh_from_db()


def _last_sound(champion: ModelVersion, verify: Verify) -> ModelVersion:
    damaged = []
    for version in good_versions():
        try:
            verify(version)
        except Exception as error:  # whatever is wrong with it, an older one may be sound
            damaged.append(f"{version.label}: {error}")
        else:
            return version
    why = f" Passed over: {' '.join(damaged)}" if damaged else ""
    raise NothingToRollBack(f"There is no good version before {champion.label}.{why}")


def _require(reason: str) -> None:
    if not reason.strip():
        raise ReasonMissing("Say why: the ledger keeps the reason.")


def _replace(
    current: ModelVersion | None, version: ModelVersion, *, demote_to: str, reason: str, by: str
) -> Promotion:
    wanted = ModelVersion.objects.get(pk=version.pk)
    if wanted.role == Role.CHAMPION:
        raise NotPromotable(f"{wanted.label} is the champion already.")
    if wanted.role == Role.WITHDRAWN:
        raise NotPromotable(f"{wanted.label} was withdrawn: a withdrawn version never returns.")
    if catalogue_generation.learnt_of_another(ModelVersion.objects.filter(pk=wanted.pk)).exists():
        raise NotPromotable(f"{wanted.label} was learnt of a catalogue that the source has no more.")
    if current is not None:
        ModelVersion.objects.filter(pk=current.pk).update(role=demote_to)
    ModelVersion.objects.filter(pk=wanted.pk).update(role=Role.CHAMPION)
    wanted.refresh_from_db()
    return Promotion.objects.create(
        promoted=wanted, replaced=current, rollback=demote_to == Role.WITHDRAWN,
        reason=reason, by=by, at=timezone.now(),
    )  # fmt: skip


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """A transaction in which nobody else changes a role.

    The oldest version's row is the lock: it is there before anything can be promoted, and always the same
    one. The champion's own would not do: there may be none, and who waited for it finds it dethroned.
    """
    with transaction.atomic():
        ModelVersion.objects.select_for_update().order_by("pk").first()
        yield
