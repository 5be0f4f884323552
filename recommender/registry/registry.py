"""Model registry: promote, roll back and withdraw versions. Only this module sets versions' roles."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final

from django.db import transaction
from django.utils import timezone

from ingestion.english import english_label
from recommender import catalogue_generation
from recommender.models import ModelVersion, Promotion

Role = ModelVersion.Role
# Raises an error if a version's artifact is damaged; the registry itself reads no files.
Verify = Callable[[ModelVersion], object]
NO_MODEL: Final = "There is no model yet. Train one: python manage.py retrain"
NO_CHAMPION: Final = "No version is champion. Name one: python manage.py promote LABEL --reason '...'"


class RegistryError(Exception):
    """The roles can't be changed in this way, and nothing was changed."""


class UnknownVersion(RegistryError):
    """No version has this label."""


class NotPromotable(RegistryError):
    """The version may not become champion."""


class ReasonMissing(RegistryError):
    """A promotion or rollback needs a reason."""


class NothingToRollBack(RegistryError):
    """There is no earlier version to bring back."""


class ChampionChanged(RegistryError):
    """Another process changed the champion at the same time."""


def current_champion() -> ModelVersion | None:
    """The champion; None without one, or if it was trained before the latest catalogue reset."""
    return catalogue_generation.trained_on_current(ModelVersion.objects.filter(role=Role.CHAMPION)).first()


def why_no_champion() -> str:
    since = catalogue_generation.last_reset_at()
    if since is None or not ModelVersion.objects.exists():
        return NO_MODEL
    return (
        f"The source's catalogue was replaced at {since:%Y-%m-%d %H:%M} UTC, and no model has been trained "
        "on it yet. Train one: python manage.py retrain"
    )


def former_champions() -> list[ModelVersion]:
    """The former champions with files, latest first; used if the champion's files are damaged."""
    retired = catalogue_generation.trained_on_current(
        ModelVersion.objects.filter(role=Role.RETIRED, files_deleted_at=None)
    )
    latest: dict[int, ModelVersion] = {}
    for promotion in (
        Promotion.objects.filter(promoted__in=retired).select_related("promoted").order_by("-id")
    ):
        latest.setdefault(promotion.promoted_id, promotion.promoted)
    return list(latest.values())


def find_version(label: str) -> ModelVersion:
    """The version with this label.

    Raises:
        UnknownVersion: lists the latest versions.
    """
    version = ModelVersion.objects.filter(label=label).first()
    if version is None:
        latest = ", ".join(ModelVersion.objects.values_list("label", flat=True)[:8])
        raise UnknownVersion(
            f"There is no version {label}. The latest are: {latest}." if latest else NO_MODEL
        )
    return version


def promote(
    version: ModelVersion, *, reason: str, by: str, verify: Verify, only_if_no_champion: bool = False
) -> Promotion:
    """Make `version` the champion, retire the previous one, and record the promotion.

    Args:
        verify: may raise any error for a damaged artifact.

    Raises:
        NotPromotable: `version` is champion, was withdrawn, was trained on an earlier catalogue, or its files
            were deleted.
        ReasonMissing: the reason is empty.
        ChampionChanged: there is a champion, but `only_if_no_champion` is set.
    """
    _require_reason(reason)
    verify(version)
    with role_lock():
        serving = current_champion()
        if only_if_no_champion and serving is not None:
            raise ChampionChanged(f"{serving.label} has become champion.")
        return _replace_champion(
            _champion_of_any_generation(), version, demote_to=Role.RETIRED, reason=reason, by=by
        )


def roll_back(*, reason: str, by: str, verify: Verify, judged: ModelVersion | None = None) -> Promotion:
    """Permanently withdraw the champion, and restore the latest former one with an intact artifact.

    A second rollback goes further back.

    Args:
        judged: the version that the reason is about, if another process may have replaced it meanwhile.

    Raises:
        NothingToRollBack: no champion, or no earlier one with an intact artifact.
        ReasonMissing: the reason is empty.
        ChampionChanged: `judged` is not the champion, or another process promoted a version at the same time.
    """
    _require_reason(reason)
    champion = _champion_to_roll_back()
    if judged is not None:
        _require_champion(judged, champion)
    version = _last_verified_version(champion, verify)
    with role_lock():
        _require_champion(champion, _champion_to_roll_back())
        return _replace_champion(champion, version, demote_to=Role.WITHDRAWN, reason=reason, by=by)


def restore_champion(version: ModelVersion, *, reason: str, by: str, verify: Verify) -> Promotion:
    """Permanently withdraw the champion, and restore the given former one; raises as `promote`."""
    _require_reason(reason)
    verify(version)
    with role_lock():
        return _replace_champion(
            _champion_of_any_generation(), version, demote_to=Role.WITHDRAWN, reason=reason, by=by
        )


def withdraw_outdated() -> list[ModelVersion]:
    """Withdraw and return all versions trained before the latest catalogue reset."""
    with role_lock():
        all_roles = ModelVersion.objects.exclude(role=Role.WITHDRAWN)
        outdated = list(catalogue_generation.trained_on_earlier(all_roles))
        ModelVersion.objects.filter(pk__in=[one.pk for one in outdated]).update(role=Role.WITHDRAWN)
    return outdated


def make_challenger(version: ModelVersion) -> None:
    """Make the version a challenger.

    Raises:
        NotPromotable: it is champion, was withdrawn, or has no files.
    """
    _change_role(version, Role.CHALLENGER, among=(Role.CANDIDATE, Role.CHALLENGER, Role.RETIRED))


def release_challenger(version: ModelVersion, *, withdrawn: bool = False, as_candidate: bool = False) -> None:
    """Retire a challenger after its experiment, unless it has become champion.

    Args:
        withdrawn: permanently withdraw it instead.
        as_candidate: make it a candidate again instead, for another experiment.
    """
    role = Role.WITHDRAWN if withdrawn else Role.CANDIDATE if as_candidate else Role.RETIRED
    with role_lock():
        ModelVersion.objects.filter(pk=version.pk, role=Role.CHALLENGER).update(role=role)
    version.refresh_from_db()


def champion_at(moment: datetime) -> ModelVersion | None:
    last = Promotion.objects.filter(at__lte=moment).select_related("promoted").order_by("-id").first()
    return last.promoted if last else None


@contextmanager
def role_lock() -> Iterator[None]:
    """Open a transaction in which no other process can change a version's role or an experiment."""
    # It locks the row of the oldest version, which exists before any promotion and never changes. The
    # champion's row is unsuitable: it may not exist, or may be replaced while a process waits.
    with transaction.atomic():
        ModelVersion.objects.select_for_update().order_by("pk").first()
        yield


def _champion_of_any_generation() -> ModelVersion | None:
    return ModelVersion.objects.filter(role=Role.CHAMPION).first()


def _change_role(version: ModelVersion, role: str, *, among: tuple[str, ...]) -> None:
    with role_lock():
        rows = ModelVersion.objects.filter(pk=version.pk, role__in=among)
        if role == Role.CHALLENGER:
            # The files may have been deleted since the gates of its experiment were run.
            rows = rows.filter(files_deleted_at=None)
        if not rows.update(role=role):
            version.refresh_from_db()
            if version.role in among:
                raise NotPromotable(f"The files of {version.label} were deleted: it can't be tested.")
            raise NotPromotable(f"{version.label} is {english_label(version, 'role')}: it can't be tested.")
    version.refresh_from_db()


def _last_verified_version(champion: ModelVersion, verify: Verify) -> ModelVersion:
    damaged = []
    for version in former_champions():
        try:
            verify(version)
        except Exception as error:  # any error: an older version may be intact
            damaged.append(f"{version.label}: {error}")
        else:
            return version
    skipped = f" Damaged: {' '.join(damaged)}" if damaged else ""
    raise NothingToRollBack(f"There is no good version before {champion.label}.{skipped}")


def _champion_to_roll_back() -> ModelVersion:
    champion = current_champion()
    if champion is None:
        raise NothingToRollBack(why_no_champion())
    return champion


def _require_champion(judged: ModelVersion, current: ModelVersion) -> None:
    if current != judged:
        # The caller's decision concerned the former champion, not this one.
        raise ChampionChanged(f"The champion is now {current}, no longer {judged}.")


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise ReasonMissing("Give a reason: it is stored with the promotion.")


def _replace_champion(
    current: ModelVersion | None, version: ModelVersion, *, demote_to: str, reason: str, by: str
) -> Promotion:
    wanted = ModelVersion.objects.get(pk=version.pk)
    if wanted.role == Role.CHAMPION:
        raise NotPromotable(f"{wanted.label} is the champion already.")
    if wanted.role == Role.WITHDRAWN:
        raise NotPromotable(f"{wanted.label} was withdrawn: a withdrawn version never returns.")
    if wanted.files_deleted_at is not None:
        raise NotPromotable(f"The files of {wanted.label} were deleted.")
    if catalogue_generation.trained_on_earlier(ModelVersion.objects.filter(pk=wanted.pk)).exists():
        raise NotPromotable(f"{wanted.label} was trained on a catalogue that the source has replaced since.")
    if current is not None:
        ModelVersion.objects.filter(pk=current.pk).update(role=demote_to)
    ModelVersion.objects.filter(pk=wanted.pk).update(role=Role.CHAMPION)
    wanted.refresh_from_db()
    return Promotion.objects.create(
        promoted=wanted, replaced=current, rollback=demote_to == Role.WITHDRAWN,
        reason=reason, by=by, at=timezone.now(),
    )  # fmt: skip
