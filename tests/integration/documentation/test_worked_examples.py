"""The worked examples of docs/contributing.md: their code runs, and does what the text says."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from ingestion.alerts.channels import NotSent
from ingestion.alerts.messages import render
from ingestion.models import Incident, Song
from ingestion.source.schemas import SONG_SCHEMA, SongRow
from recommender.engine import features
from recommender.engine.data import Catalogue, Profiles
from tests.support.builders.experiments import make_listeners_and_songs
from tests.support.documents import code_blocks, section
from tests.support.project import ROOT
from tests.support.servers.alert_receivers import WebhookServer
from tests.unit.recommender.engine.algorithms import test_every_model as every_model

PAGE = ROOT / "docs" / "contributing.md"
NOW = datetime(2026, 11, 20, 8, tzinfo=UTC)
CONTENT = {"what": "It is down.", "sections": [], "numbers": [], "link": "", "link_text": ""}


def run_example(title: str) -> dict[str, Any]:
    """The names that the code block of a section defines."""
    text = section(PAGE, title)
    (block,) = [block for block in code_blocks(PAGE, "python") if block in text]
    names: dict[str, Any] = {"__name__": "worked_example"}
    exec(compile(block, f"{PAGE.name}: {title}", "exec"), names)  # noqa: S102
    return names


class TestAddAField:
    def test_the_computed_field_is_in_the_answer(self) -> None:
        serializer = run_example("Add a field")["SongWithDecadeSerializer"]
        song = Song(id=1, name="Slow Rivers", artist="The Lanterns", duration=timedelta(minutes=3))

        assert serializer(song).data["decade"] is None
        song.release_year = 1994
        assert serializer(song).data["decade"] == 1990

    def test_a_record_has_the_order_of_the_columns_and_each_column_is_a_field(self) -> None:
        row = SongRow(
            id=1, name="", artist="", songwriters="", duration=180_000_000, genres="", album="",
            created_at="2026-01-01T00:00:00", updated_at="2026-01-01T00:00:00",
        )  # fmt: skip

        assert len(SONG_SCHEMA.to_record(row, str)) == len(SONG_SCHEMA.columns)
        assert {field.column for field in Song._meta.concrete_fields} >= set(SONG_SCHEMA.columns)


class TestAddAnAlertChannel:
    def test_the_channel_sends_and_says_why_it_could_not(self) -> None:
        make_channel = run_example("Add an alert channel")["WebhookChannel"]

        with WebhookServer() as server:
            channel = make_channel(server.url)
            channel.send("The source is down", CONTENT)
            server.status = 500
            with pytest.raises(NotSent, match="answered 500"):
                channel.send("The source is down", CONTENT)

        assert server.received[0] == {"title": "The source is down", "text": "It is down.\n"}
        assert server.url not in repr(channel)


class TestAddAFeature:
    def test_the_column_becomes_a_feature_of_the_songs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        count = run_example("Add a feature")["songwriter_counts"]
        numeric: Callable[[Catalogue], dict[str, Any]] = features.numeric_columns
        monkeypatch.setattr(
            features, "numeric_columns", lambda songs: numeric(songs) | {"songwriters": count(songs)}
        )
        catalogue = every_model.make_training().catalogue
        catalogue.songwriters[:3] = ["Ada, Bob", "Ada", ""]

        space, _ = features.fit_transform(catalogue, seed=7)

        assert count(catalogue)[:2].tolist() == [2, 1]
        assert np.isnan(count(catalogue)[2])
        assert "songwriters" in space.names


class TestAddAModel:
    def test_it_passes_the_suite_of_every_model(self) -> None:
        newest = run_example("Add a model")["Newest"]
        model = newest.fit(every_model.make_training())
        suite = [
            check
            for name, check in vars(every_model).items()
            if name.startswith("test_")
            and check.__code__.co_varnames[: check.__code__.co_argcount] == ("model",)
        ]
        # It knows no listener's taste.
        suite.remove(every_model.test_listeners_are_rows_and_songs_are_columns)

        assert len(suite) >= 5
        for check in suite:
            check(model)

    def test_it_recommends_the_newest_song_first(self) -> None:
        newest = run_example("Add a model")["Newest"]
        training = every_model.make_training()
        training.catalogue.release_years[:] = np.arange(training.catalogue.n_songs) % 40 + 1980

        lists = newest.fit(training).recommend(Profiles(csr_array((1, 45), dtype=np.float32)), 3)

        assert lists.tolist() == [[39, 38, 37]]


@pytest.mark.django_db
class TestAddACheck:
    def test_it_opens_an_incident_that_can_be_read_and_closes_it(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        example = run_example("Add a check")
        check, feedback = example["feedback_silent"], example["Feedback"]
        monkeypatch.setitem(render.message_templates(), "feedback_silent", example["FEEDBACK_SILENT_MESSAGE"])
        make_listeners_and_songs()

        check(NOW)
        assert not Incident.objects.exists()
        row = feedback.objects.create(
            event_id="1", listener_id=1, song_id=10, kind="like", at=NOW, received_at=NOW
        )
        check(NOW + timedelta(days=3))
        incident = Incident.objects.get()
        assert render.render_incident(incident, "en").subject == "No app has sent feedback for 3 d"
        feedback.objects.filter(pk=row.pk).update(received_at=NOW + timedelta(days=3))
        check(NOW + timedelta(days=3))

        incident.refresh_from_db()
        assert incident.resolved_at is not None
