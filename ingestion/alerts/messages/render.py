"""Renders an incident as text in English or French."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from django.conf import settings
from django.utils import translation
from django.utils.module_loading import import_string
from django.utils.translation import gettext
from django.utils.translation import gettext_noop as _

from ingestion.alerts.messages.formatting import (
    MessageTemplate,
    fact_label,
    format_duration,
    format_fact,
    format_time,
    translate_word,
)
from ingestion.alerts.messages.infrastructure import FALLBACK_MESSAGE
from ingestion.models import Incident, Notification

LANGUAGES: Final = ("en", "fr")
Event = Notification.Event
# Stored with a notification and shown by the channels: event, severity, headline, what,
# sections [title, text], numbers [name, value], link, link_text, language.
MessageContent = dict[str, Any]
# The width of Notification.subject.
MAX_SUBJECT_CHARS = 200
KEYBOARD_SPACES: Final = {ord(space): " " for space in "\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}"}
VALUE: Final = re.compile(r"\{[^}]*\}")
SUBJECTS: Final = {
    ("opened", "critical"): _("Critical: {subject}"),
    ("opened", "warning"): _("Warning: {subject}"),
    ("reminder", "critical"): _("Still critical: {subject}"),
    ("reminder", "warning"): _("Still open: {subject}"),
    ("resolved", "critical"): _("Resolved: {subject}"),
    ("resolved", "warning"): _("Resolved: {subject}"),
    # Of a warning that became a notice while it was open.
    ("resolved", "notice"): _("Resolved: {subject}"),
}


@dataclass(frozen=True)
class IncidentText:
    subject: str  # one line, without the severity
    # what, since, how_bad: whole sentences; how_bad is empty for a resolved incident.
    what: str
    since: str
    how_bad: str
    what_to_do: str  # one line per step, so that a command at the end can be copied
    lines: tuple[tuple[str, str], ...] = ()  # the facts as (label, formatted value)


@cache
def message_templates() -> dict[str, MessageTemplate]:
    """The message templates of all apps by incident kind; settings.ALERT_MESSAGES lists where they are."""
    templates: dict[str, MessageTemplate] = {}
    for path in settings.ALERT_MESSAGES:
        templates |= import_string(path)
    return templates


def render_incident(incident: Incident, language: str) -> IncidentText:
    template = message_templates().get(incident.kind, FALLBACK_MESSAGE)
    facts = _facts(incident)
    with translation.override(language):
        return IncidentText(
            subject=render_subject(incident, language),
            what=_fill_paragraph(template.what, facts),
            since=_since_sentence(incident),
            how_bad=f"{translate_word(incident.severity)}. {_fill_paragraph(template.how_bad, facts)}",
            what_to_do="\n".join(_fill_sentences(template.what_to_do, facts)),
            lines=_number_lines(incident.facts),
        )


def render_subject(incident: Incident, language: str) -> str:
    """An incident's subject line, for lists of incidents; cheaper than `render_incident`."""
    template, facts = message_templates().get(incident.kind, FALLBACK_MESSAGE), _facts(incident)
    with translation.override(language):
        return [*_fill_sentences(template.subject, facts), *_fill_sentences(FALLBACK_MESSAGE.subject, facts)][
            0
        ]


def fold_typed_text(text: str) -> str:
    """The text in one case, with the apostrophes and spaces that keyboards have: French pages have others."""
    return text.casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").translate(KEYBOARD_SPACES)


def kinds_described_by(text: str, language: str) -> list[str]:
    """The kinds of incidents whose subjects have this text outside of the values in them."""
    wanted = fold_typed_text(text.strip())
    with translation.override(language):
        return [
            kind
            for kind, template in message_templates().items()
            if wanted and any(wanted in fold_typed_text(part) for part in _constant_parts(template.subject))
        ]


def render_resolution(incident: Incident, language: str) -> IncidentText:
    subject = render_subject(incident, language)
    ended = incident.resolved_at or incident.seen_at
    with translation.override(language):
        what = [gettext("This incident is resolved: {subject}.").format(subject=subject)]
        if incident.resolved_by_run_id is not None:
            what.append(gettext("Run {run} resolved it.").format(run=incident.resolved_by_run_id))
        since = gettext("It lasted {lasted}: from {opened} to {ended}.").format(
            lasted=format_duration((ended - incident.opened_at).total_seconds()),
            opened=format_time(incident.opened_at),
            ended=format_time(ended),
        )
        return IncidentText(subject, " ".join(what), since, "", gettext("No action is needed."),
                    _number_lines(incident.resolution))  # fmt: skip


def render_message(incident: Incident, event: str, link: str, language: str) -> tuple[str, MessageContent]:
    """A message's subject and content; `event` is opened, reminder or resolved."""
    text = (
        render_resolution(incident, language)
        if event == Event.RESOLVED
        else render_incident(incident, language)
    )
    with translation.override(language):
        headline = gettext(SUBJECTS[event, incident.severity]).format(subject=text.subject)
        sections = [
            (gettext("Since when"), text.since),
            (gettext("Impact"), text.how_bad),
            (gettext("What to do"), text.what_to_do),
        ]
        content: MessageContent = {
            "event": event, "severity": incident.severity, "headline": headline, "what": text.what,
            "sections": [[title, section] for title, section in sections if section],
            "numbers": [list(line) for line in text.lines],
            "link": link, "link_text": gettext("Open the incident"), "language": language,
        }  # fmt: skip
    return f"[MoovitaMix] {headline}"[:MAX_SUBJECT_CHARS], content


def render_test_message(channel: str, link: str, language: str) -> tuple[str, MessageContent]:
    with translation.override(language):
        headline = gettext("Test: alerts arrive on this channel")
        content: MessageContent = {
            "event": Event.TEST.value, "severity": "", "headline": headline,
            "what": gettext("This is a test of the channel {channel}. Alerts from MoovitaMix will look like "
"this one.").format(channel=translate_word(channel)),
            "sections": [[gettext("What to do"), gettext("No action is needed.")]],
            "numbers": [], "link": link, "link_text": gettext("Open MoovitaMix"), "language": language,
        }  # fmt: skip
    return f"[MoovitaMix] {headline}", content


def _constant_parts(sentences: Sequence[str]) -> list[str]:
    return [part for sentence in sentences for part in VALUE.split(gettext(sentence))]


def _facts(incident: Incident) -> dict[str, Any]:
    """The incident's facts, with the parts of its key: "unusual:received:songs" gives part1 and part2."""
    parts = incident.key.split(":")[1:]
    named = {f"part{index}": part for index, part in enumerate(parts, 1)}
    if incident.kind == "unusual" and parts:
        named["measure"] = parts[0]
    return {"key": incident.key, **named, **incident.facts}


def _fill_sentences(sentences: Sequence[str], facts: Mapping[str, Any]) -> list[str]:
    words = {
        name: format_fact(name, value, facts) for name, value in facts.items() if value not in (None, "")
    }
    filled = []
    for sentence in sentences:
        try:
            filled.append(gettext(sentence).format_map(words))
        except KeyError:
            continue
    return filled


def _fill_paragraph(sentences: Sequence[str], facts: Mapping[str, Any]) -> str:
    # A sentence may end with an error message, which may or may not end with a full stop.
    filled = _fill_sentences(sentences, facts)
    return " ".join(text if text.endswith((".", "!", "?", "…")) else f"{text}." for text in filled)


def _since_sentence(incident: Incident) -> str:
    if incident.count == 1:
        return gettext("Since {opened}.").format(opened=format_time(incident.opened_at))
    return gettext("Since {opened}; detected {count} times, most recently at {seen}.").format(
        opened=format_time(incident.opened_at), count=incident.count, seen=format_time(incident.seen_at)
    )


def _number_lines(facts: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (fact_label(name), format_fact(name, value, facts))
        for name, value in facts.items()
        if value not in (None, "")
    )
