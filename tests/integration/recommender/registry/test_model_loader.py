"""The serving model is verified, kept, swapped at a promotion, and replaced while it is damaged."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from recommender.engine.data import Profiles
from recommender.engine.mix.model import OnlineMixModel
from recommender.listener_profiles import read_profiles
from recommender.models import ModelVersion
from recommender.registry import model_loader
from recommender.registry.model_loader import ModelLoader, ServingModel
from recommender.serving import recommendations
from recommender.serving.list_limits import ServingOptions
from tests.support.builders.trained_model import train_champion

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keeper(storage: Path, clock: Clock) -> ModelLoader:
    return ModelLoader(storage, clock)


def champion() -> ModelVersion:
    return ModelVersion.objects.get(role="champion")


def profile(keeper: ModelLoader) -> Profiles:
    model = keeper.current_model().model
    assert model is not None
    return read_profiles([470], NOW)[470].model_profile(model.song_ids)


def remove(folder: Path) -> None:
    shutil.rmtree(folder)


def cut_off(folder: Path) -> None:
    file = max(folder.glob("*.npy"), key=lambda path: path.stat().st_size)
    with file.open("r+b") as open_file:
        open_file.truncate(100)


def flip_a_bit(folder: Path) -> None:
    file = max(folder.glob("*.npy"), key=lambda path: path.stat().st_size)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def forge_the_manifest(folder: Path) -> None:
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"seed": 7', '"seed": 8'))


def name_another_hash(folder: Path) -> None:
    ModelVersion.objects.filter(label=folder.name).update(artifact_sha256="0" * 64)


DAMAGES = [remove, cut_off, flip_a_bit, forge_the_manifest, name_another_hash]
Damage = Callable[[Path], None]


def test_the_champion_is_loaded_once_and_checked_every_few_seconds(
    keeper: ModelLoader, clock: Clock, django_assert_num_queries: Any
) -> None:
    first = keeper.current_model()

    with django_assert_num_queries(0):
        clock.seconds += 2.9
        again = keeper.current_model()
    # The champion, and whether staff changed a name or the word list.
    with django_assert_num_queries(3):
        clock.seconds += 0.2
        later = keeper.current_model()

    assert first.degraded is None
    assert first.model is not None
    assert first.model.version == champion()
    assert again is first
    assert later is first


def test_a_promotion_takes_effect_within_five_seconds_and_running_requests_keep_their_model(
    keeper: ModelLoader, clock: Clock, storage: Path
) -> None:
    before = keeper.current_model()
    asked = profile(keeper)
    new = train_champion(storage)

    at_once = keeper.current_model()
    clock.seconds += 5
    after = keeper.current_model()

    assert at_once is before
    assert after.model is not None
    assert after.model.version == new
    assert after.degraded is None
    assert before.model is not None
    assert before.model.scorer.candidates(asked, n=20).songs.shape == (20,)


@pytest.mark.parametrize("damage", DAMAGES)
def test_if_the_champion_is_damaged_the_previous_good_version_serves(storage: Path, damage: Damage) -> None:
    previous, broken = champion(), train_champion(storage)
    damage(storage / broken.label)

    loaded = ModelLoader(storage).current_model()

    assert loaded.model is not None
    assert loaded.model.version == previous
    assert loaded.degraded is not None
    assert broken.label in loaded.degraded
    assert loaded.degraded.endswith(f"{previous.label} serves instead.")


@pytest.mark.parametrize("damage", DAMAGES)
def test_if_every_version_is_damaged_popular_songs_are_served(storage: Path, damage: Damage) -> None:
    broken = [champion(), train_champion(storage)]
    for version in broken:
        damage(storage / version.label)

    loaded = ModelLoader(storage).current_model()
    served = recommendations.recommend(470, options=ServingOptions(storage), now=NOW)

    assert loaded.model is None
    assert loaded.degraded is not None
    assert all(version.label in loaded.degraded for version in broken)
    assert served.arm == "fallback"
    assert served.version is None
    assert len(served.items) == 20
    assert {item["reason"].split(" ")[0] for item in served.items} == {"Popular"}


def test_without_a_model_popular_songs_are_served_and_the_message_says_what_to_do(storage: Path) -> None:
    ModelVersion.objects.update(role="candidate")

    loaded = ModelLoader(storage).current_model()

    assert loaded.model is None
    assert loaded.degraded == "There is no model yet. Train one: python manage.py retrain"


def test_a_withdrawn_version_never_serves_again(storage: Path) -> None:
    first = champion()
    broken = train_champion(storage)
    ModelVersion.objects.filter(pk=first.pk).update(role="withdrawn")
    remove(storage / broken.label)

    assert ModelLoader(storage).current_model().model is None


@pytest.mark.parametrize("damage", [remove, cut_off, flip_a_bit, forge_the_manifest])
def test_files_that_change_while_they_serve_are_noticed_at_the_next_check(
    keeper: ModelLoader, clock: Clock, storage: Path, damage: Damage
) -> None:
    previous, serves = champion(), train_champion(storage)
    before = keeper.current_model()
    damage(storage / serves.label)

    clock.seconds += 5
    after = keeper.current_model()

    assert before.model is not None
    assert before.model.version == serves
    assert after.model is not None
    assert after.model.version == previous


@pytest.mark.parametrize("damage", [remove, cut_off, flip_a_bit])
def test_a_request_that_needs_the_model_notices_changed_files_at_once(storage: Path, damage: Damage) -> None:
    options = ServingOptions(storage)
    before = recommendations.recommend(470, options=options, now=NOW)
    damage(storage / champion().label)

    from_its_shelf = recommendations.recommend(470, options=options, now=NOW)
    from_the_model = recommendations.recommend(559, options=options, now=NOW)

    assert (before.arm, from_its_shelf.arm, from_the_model.arm) == ("champion", "champion", "fallback")
    assert from_the_model.version is None
    assert len(from_the_model.items) == 20


def test_a_damaged_artifact_is_retried_with_growing_pauses_and_serves_once_repaired(
    keeper: ModelLoader, clock: Clock, storage: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = storage / champion().label
    folder.rename(folder.with_name("elsewhere"))
    tries = []
    for _ in range(24):
        keeper.current_model()
        tries.append(len(caplog.records))
        clock.seconds += 3
    folder.with_name("elsewhere").rename(folder)

    clock.seconds += 300
    repaired = keeper.current_model()

    # At 0, 3, 9, 21 and 45 seconds.
    assert [tries.index(number) * 3 for number in range(1, 6)] == [0, 3, 9, 21, 45]
    assert repaired.degraded is None
    assert repaired.model is not None


def test_the_pause_before_a_retry_begins_when_the_attempt_ends(
    keeper: ModelLoader,
    clock: Clock,
    storage: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A download that is given up takes a minute, and requests wait for it."""
    remove(storage / champion().label)
    open_model = model_loader.open_serving_model

    def open_slowly(version: ModelVersion, folder: Path) -> ServingModel:
        clock.seconds += 60
        return open_model(version, folder)

    monkeypatch.setattr(model_loader, "open_serving_model", open_slowly)
    keeper.current_model()

    keeper.current_model()
    at_once = len(caplog.records)
    clock.seconds += 3
    keeper.current_model()

    assert (at_once, len(caplog.records)) == (1, 2)


def test_a_promotion_ends_the_pause_after_a_damaged_champion(
    keeper: ModelLoader, clock: Clock, storage: Path
) -> None:
    remove(storage / champion().label)
    for _ in range(10):
        keeper.current_model()
        clock.seconds += 5
    new = train_champion(storage)

    clock.seconds += 5
    loaded = keeper.current_model()

    assert loaded.degraded is None
    assert loaded.model is not None
    assert loaded.model.version == new


def test_arrays_stay_in_the_files_and_read_only(keeper: ModelLoader) -> None:
    model = keeper.current_model().model

    assert model is not None
    assert isinstance(model.scorer, OnlineMixModel)
    parts = model.scorer.mix.components
    arrays = [model.song_ids, parts.taste, parts.neighbours["rp3"].data]
    assert [array.flags.writeable for array in arrays] == [False, False, False]
    assert all(is_mapped(array) for array in arrays)


def is_mapped(array: Any) -> bool:
    while array is not None:
        if type(array).__name__ == "memmap":
            return True
        array = getattr(array, "base", None)
    return False
