"""What people are told of an incident, in English or French: what, since when, how bad, what to do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.utils import translation
from django.utils.translation import gettext
from django.utils.translation import gettext_noop as _

from ingestion.alerts.messages.formatting import (
    fact_label,
    format_duration,
    format_fact,
    format_time,
    translate_word,
)
from ingestion.alerts.messages.recommender import RECOMMENDER_MESSAGES
from ingestion.alerts.messages.runs import RUN_MESSAGES
from ingestion.alerts.messages.services import FALLBACK_MESSAGE, SERVICE_MESSAGES
from ingestion.models import Incident, Notification

LANGUAGES: Final = ("en", "fr")
MESSAGE_TEMPLATES: Final = {**RUN_MESSAGES, **SERVICE_MESSAGES, **RECOMMENDER_MESSAGES}
Event = Notification.Event
# What a notification stores and channels show: event, severity, headline, what, sections [title, text],
# numbers [name, value], link, link_text, language.
MessageContent = dict[str, Any]
# As much as a notification holds.
MAX_SUBJECT_CHARS = 200
SUBJECTS: Final = {
    ("opened", "critical"): _("Critical: {subject}"),
    ("opened", "warning"): _("Warning: {subject}"),
    ("reminder", "critical"): _("Still critical: {subject}"),
    ("reminder", "warning"): _("Still there: {subject}"),
    ("resolved", "critical"): _("Over: {subject}"),
    ("resolved", "warning"): _("Over: {subject}"),
}


@dataclass(frozen=True)
class IncidentText:
    """One incident in words of one language.

    Attributes:
        subject: one line, without how bad it is.
        what, since, how_bad: a sentence or more each; how_bad is empty where it is over.
        what_to_do: a line a step, so that a command at its end can be copied.
        lines: its numbers: name and value, as people read them.
    """

    subject: str
    what: str
    since: str
    how_bad: str
    what_to_do: str
    lines: tuple[tuple[str, str], ...] = ()


def render_incident(incident: Incident, language: str) -> IncidentText:
    """What is wrong, in `language`: en or fr."""
    wording = MESSAGE_TEMPLATES.get(incident.kind, FALLBACK_MESSAGE)
    facts = _facts(incident)
    with translation.override(language):
        return IncidentText(
            subject=render_subject(incident, language),
            what=_fill_paragraph(wording.what, facts),
            since=_since_sentence(incident),
            how_bad=f"{translate_word(incident.severity)}. {_fill_paragraph(wording.how_bad, facts)}",
            what_to_do="\n".join(_fill_sentences(wording.what_to_do, facts)),
            lines=_number_lines(incident.facts),
        )


def render_subject(incident: Incident, language: str) -> str:
    """Its line in a list, without the cost of all that a message says."""
    wording, facts = MESSAGE_TEMPLATES.get(incident.kind, FALLBACK_MESSAGE), _facts(incident)
    with translation.override(language):
        return [*_fill_sentences(wording.subject, facts), *_fill_sentences(FALLBACK_MESSAGE.subject, facts)][
            0
        ]


def render_resolution(incident: Incident, language: str) -> IncidentText:
    """That a resolved incident is over: how long it lasted, and which run ended it."""
    subject = render_subject(incident, language)
    ended = incident.resolved_at or incident.seen_at
    with translation.override(language):
        what = [gettext("It is over: {subject}.").format(subject=subject)]
        if incident.resolved_by_run_id is not None:
            what.append(gettext("Run {run} ended it.").format(run=incident.resolved_by_run_id))
        since = gettext("It lasted {lasted}: from {opened} to {ended}.").format(
            lasted=format_duration((ended - incident.opened_at).total_seconds()),
            opened=format_time(incident.opened_at),
            ended=format_time(ended),
        )
        return IncidentText(subject, " ".join(what), since, "", gettext("Nothing has to be done."),
                    _number_lines(incident.resolution))  # fmt: skip


def render_message(incident: Incident, event: str, link: str, language: str) -> tuple[str, MessageContent]:
    """Subject and content of one message: that it opened, is still there, or is over."""
    text = (
        render_resolution(incident, language)
        if event == Event.RESOLVED
        else render_incident(incident, language)
    )
    with translation.override(language):
        headline = gettext(SUBJECTS[event, incident.severity]).format(subject=text.subject)
        sections = [
            (gettext("Since when"), text.since),
            (gettext("How bad"), text.how_bad),
            (gettext("What to do"), text.what_to_do),
        ]
        content: MessageContent = {
            "event": event, "severity": incident.severity, "headline": headline, "what": text.what,
            "sections": [[title, said] for title, said in sections if said],
            "numbers": [list(line) for line in text.lines],
            "link": link, "link_text": gettext("Open the incident"), "language": language,
        }  # fmt: skip
    return f"[MoovitaMix] {headline}"[:MAX_SUBJECT_CHARS], content


def render_test_message(channel: str, link: str, language: str) -> tuple[str, MessageContent]:
    """What `testalert` sends: that alerts come through by this channel."""
    with translation.override(language):
        headline = gettext("Test: alerts reach you here")
        content: MessageContent = {
            "event": Event.TEST.value, "severity": "", "headline": headline,
            "what": gettext("This is a test of the channel {channel}. Alerts of MoovitaMix arrive like this "
                            "one.").format(channel=translate_word(channel)),
            "sections": [[gettext("What to do"), gettext("Nothing has to be done.")]],
            "numbers": [], "link": link, "link_text": gettext("Open MoovitaMix"), "language": language,
        }  # fmt: skip
    return f"[MoovitaMix] {headline}", content


def _facts(incident: Incident) -> dict[str, Any]:
    """The incident's facts, and the parts of its key: unusual:received:songs has two."""
    parts = incident.key.split(":")[1:]
    named = {f"part{index}": part for index, part in enumerate(parts, 1)}
    if incident.kind == "unusual" and parts:
        named["measure"] = parts[0]
    return {"key": incident.key, **named, **incident.facts}


def _fill_sentences(sentences: Sequence[str], facts: Mapping[str, Any]) -> list[str]:
    """The sentences whose facts are all there, filled in."""
    words = {
        name: format_fact(name, value, facts) for name, value in facts.items() if value not in (None, "")
    }
    told = []
    for sentence in sentences:
        try:
            told.append(gettext(sentence).format_map(words))
        except KeyError:
            continue
    return told


def _fill_paragraph(sentences: Sequence[str], facts: Mapping[str, Any]) -> str:
    # A sentence may end in somebody else's words, which may end in a full stop or not.
    told = _fill_sentences(sentences, facts)
    return " ".join(said if said.endswith((".", "!", "?", "…")) else f"{said}." for said in told)


def _since_sentence(incident: Incident) -> str:
    if incident.count == 1:
        return gettext("Since {opened}.").format(opened=format_time(incident.opened_at))
    return gettext("Since {opened}; seen {count} times, last at {seen}.").format(
        opened=format_time(incident.opened_at), count=incident.count, seen=format_time(incident.seen_at)
    )


def _number_lines(facts: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (fact_label(name), format_fact(name, value, facts))
        for name, value in facts.items()
        if value not in (None, "")
    )
