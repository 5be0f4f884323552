"""The Prometheus and Grafana files use only metrics that a scrape returns, and use all of them."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any

import pytest
import yaml
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from ingestion.alerts.messages.render import message_templates
from ingestion.models import IngestionRun, Notification
from recommender.api.authentication import issue_key
from recommender.models import TrainingRun
from tests.support.builders.busy_service import fill_service
from tests.support.project import ROOT
from tests.support.promql import parse_expression

# The library gives these no types.
parse: Callable[[str], Iterable[Metric]] = text_string_to_metric_families
FOLDER = ROOT / "ingestion" / "observability"
# Prometheus adds these labels itself, and `up` for each target.
ADDED = {"instance", "job"}
LABEL = re.compile(r"\{\{\s*(?:\$labels\.)?(\w+)")
# The values of each label, of each metric.
Given = dict[str, dict[str, set[str]]]
# Values that may come although nothing in a filled database has them now.
MORE = {
    "status": {*IngestionRun.Status.values, *TrainingRun.Status.values},
    "state": set(Notification.State.values),
    "severity": {"warning", "critical"},
    "kind": set(message_templates()),
}


@pytest.fixture
def scrape(db: None) -> Given:
    fill_service(timezone.now())
    secret = issue_key("prometheus", User.objects.create(username="prometheus"), scopes=["metrics"])[1]
    answer = Client().get("/metrics", headers={"Authorization": f"Bearer {secret}"})
    given: Given = {"up": {}}
    for family in parse(answer.content.decode()):
        for sample in family.samples:
            one = given.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                one.setdefault(label, set()).add(value)
    return given


@cache
def dashboard() -> Any:
    return json.loads((FOLDER / "grafana-dashboard.json").read_text())


@cache
def rules() -> list[Any]:
    groups = yaml.safe_load((FOLDER / "prometheus-alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[Any]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[tuple[str, str]]:
    """Every expression, with the text that names labels of its result."""
    for rule in rules():
        yield rule["expr"], " ".join(rule["annotations"].values())
    for panel in panels():
        for target in panel["targets"]:
            yield target["expr"], target["legendFormat"]
    for note in dashboard()["annotations"]["list"]:
        if "expr" in note:
            yield note["expr"], ""


def faults(expression: str, said: str, scrape: Given) -> list[str]:
    """The metrics, labels and values that this expression or its text uses, and a scrape does not have."""
    asked = parse_expression(expression)
    found = [f"no metric {name}" for name in asked.names if name not in scrape]
    known = [(scrape[name], conditions) for name, conditions in asked.metrics if name in scrape]
    of_all = ADDED.union(*(labels for labels, _ in known))
    found += [f"no label {label}" for label in {*asked.grouped_by, *LABEL.findall(said)} - of_all - {"value"}]
    for labels, conditions in known:
        for label, _, value in conditions:
            if label in ADDED:
                continue
            possible = labels.get(label, set()) | MORE.get(label, set())
            if label not in labels:
                found.append(f"no label {label}")
            found += [f"{label} is never {one}" for one in value.split("|") if one not in possible]
    return found


def test_every_expression_asks_for_what_a_scrape_gives(scrape: Given) -> None:
    found = {
        expression: wrong for expression, said in expressions() if (wrong := faults(expression, said, scrape))
    }

    assert found == {}


@pytest.mark.parametrize(
    ("expression", "said", "fault"),
    [
        ("sum(moovitamix_run) > 0", "", "no metric moovitamix_run"),
        ('moovitamix_runs{state="failed"}', "", "no label state"),
        ("sum by (arm) (moovitamix_runs)", "", "no label arm"),
        ("moovitamix_runs", "{{resource}}", "no label resource"),
        ('moovitamix_messages{state="given_up"}', "{{ $labels.channel }}", "state is never given_up"),
        ('moovitamix_incidents_open{kind=~"run_failed|beat_died"} > 0', "", "kind is never beat_died"),
    ],
)
def test_a_wrong_name_would_be_found(scrape: Given, expression: str, said: str, fault: str) -> None:
    found = faults(expression, said, scrape)

    assert fault in found


def test_every_metric_is_drawn_or_alerted_on(scrape: Given) -> None:
    used = {name for expression, _ in expressions() for name in parse_expression(expression).names}

    assert scrape.keys() - used == set()


def test_every_rule_says_how_bad_it_is_and_what_to_do() -> None:
    names = Counter(rule["alert"] for rule in rules())

    for rule in rules():
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["alert"].startswith("MoovitaMix")
        assert rule["labels"].keys() == {"severity"}
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"].keys() == {"summary", "description"}
        assert len(rule["annotations"]["description"]) > 60
        assert re.fullmatch(r"\d+[mh]", rule.get("for", "0m"))
    assert set(names.values()) == {1}
    assert len(names) == 22


def test_the_dashboard_takes_any_data_source_and_no_panel_lies_on_another() -> None:
    source = {"type": "prometheus", "uid": "${datasource}"}
    every = dashboard()["panels"]
    tiles = Counter(
        (x, y)
        for place in (panel["gridPos"] for panel in every)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    )

    assert [one["name"] for one in dashboard()["templating"]["list"]] == ["datasource", "instance"]
    assert all(panel["datasource"] == source for panel in panels())
    assert all(target["datasource"] == source for panel in panels() for target in panel["targets"])
    assert max(Counter(panel["id"] for panel in every).values()) == 1
    assert max(tiles.values()) == 1
    assert max(x for x, _ in tiles) == 23


def test_every_panel_says_what_it_shows_and_in_which_unit() -> None:
    lacking = [
        panel["title"]
        for panel in panels()
        if not (panel["title"] and panel["description"] and panel["fieldConfig"]["defaults"]["unit"])
    ]

    assert lacking == []


def test_the_dashboard_has_a_row_for_each_question() -> None:
    rows = [panel["title"] for panel in dashboard()["panels"] if panel["type"] == "row"]

    assert rows == [
        "Now", "Runs", "Volumes", "Errors", "Latency and age", "Resources", "Incidents and delivery",
        "Queue and heartbeats", "Model and serving",
    ]  # fmt: skip
