"""What people are told of an incident, in English or French: what, since when, how bad, what to do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.utils import translation
from django.utils.translation import gettext
from django.utils.translation import gettext_noop as _

from ingestion.alerts.messages.formatting import instant, label, shown, span, word
from ingestion.alerts.messages.recommender import MODELS
from ingestion.alerts.messages.runs import RUNS
from ingestion.alerts.messages.services import SERVICE, UNKNOWN
from ingestion.models import Incident, Notification

__all__ = ["LANGUAGES", "WORDINGS", "Content", "Text", "end_of", "message_of", "subject_of", "text_of",
           "trial_message"]  # fmt: skip

LANGUAGES: Final = ("en", "fr")
WORDINGS: Final = {**RUNS, **SERVICE, **MODELS}
Event = Notification.Event
# What a notification stores and channels show: event, severity, headline, what, sections [title, text],
# numbers [name, value], link, link_text, language.
Content = dict[str, Any]
# As much as a notification holds.
LONGEST_SUBJECT = 200
SUBJECTS: Final = {
    ("opened", "critical"): _("Critical: {subject}"),
    ("opened", "warning"): _("Warning: {subject}"),
    ("reminder", "critical"): _("Still critical: {subject}"),
    ("reminder", "warning"): _("Still there: {subject}"),
    ("resolved", "critical"): _("Over: {subject}"),
    ("resolved", "warning"): _("Over: {subject}"),
}


@dataclass(frozen=True)
class Text:
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


def text_of(incident: Incident, language: str) -> Text:
    """What is wrong, in `language`: en or fr."""
    wording = WORDINGS.get(incident.kind, UNKNOWN)
    facts = _facts(incident)
    with translation.override(language):
        return Text(
            subject=subject_of(incident, language),
            what=_joined(wording.what, facts),
            since=_since(incident),
            how_bad=f"{word(incident.severity)}. {_joined(wording.how_bad, facts)}",
            what_to_do="\n".join(_told(wording.what_to_do, facts)),
            lines=_lines(incident.facts),
        )


def subject_of(incident: Incident, language: str) -> str:
    """Its line in a list, without the cost of all that a message says."""
    wording, facts = WORDINGS.get(incident.kind, UNKNOWN), _facts(incident)
    with translation.override(language):
        return [*_told(wording.subject, facts), *_told(UNKNOWN.subject, facts)][0]


def end_of(incident: Incident, language: str) -> Text:
    """That a resolved incident is over: how long it lasted, and which run ended it."""
    subject = subject_of(incident, language)
    ended = incident.resolved_at or incident.seen_at
    with translation.override(language):
        what = [gettext("It is over: {subject}.").format(subject=subject)]
        if incident.resolved_by_run_id is not None:
            what.append(gettext("Run {run} ended it.").format(run=incident.resolved_by_run_id))
        since = gettext("It lasted {lasted}: from {opened} to {ended}.").format(
            lasted=span((ended - incident.opened_at).total_seconds()),
            opened=instant(incident.opened_at),
            ended=instant(ended),
        )
        return Text(subject, " ".join(what), since, "", gettext("Nothing has to be done."),
                    _lines(incident.resolution))  # fmt: skip


def message_of(incident: Incident, event: str, link: str, language: str) -> tuple[str, Content]:
    """Subject and content of one message: that it opened, is still there, or is over."""
    text = end_of(incident, language) if event == Event.RESOLVED else text_of(incident, language)
    with translation.override(language):
        headline = gettext(SUBJECTS[event, incident.severity]).format(subject=text.subject)
        sections = [
            (gettext("Since when"), text.since),
            (gettext("How bad"), text.how_bad),
            (gettext("What to do"), text.what_to_do),
        ]
        content: Content = {
            "event": event, "severity": incident.severity, "headline": headline, "what": text.what,
            "sections": [[title, said] for title, said in sections if said],
            "numbers": [list(line) for line in text.lines],
            "link": link, "link_text": gettext("Open the incident"), "language": language,
        }  # fmt: skip
    return f"[MoovitaMix] {headline}"[:LONGEST_SUBJECT], content


def trial_message(channel: str, link: str, language: str) -> tuple[str, Content]:
    """What `testalert` sends: that alerts come through by this channel."""
    with translation.override(language):
        headline = gettext("Test: alerts reach you here")
        content: Content = {
            "event": Event.TEST.value, "severity": "", "headline": headline,
            "what": gettext("This is a test of the channel {channel}. Alerts of MoovitaMix arrive like this "
                            "one.").format(channel=word(channel)),
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


def _told(sentences: Sequence[str], facts: Mapping[str, Any]) -> list[str]:
    """The sentences whose facts are all there, filled in."""
    words = {name: shown(name, value, facts) for name, value in facts.items() if value not in (None, "")}
    told = []
    for sentence in sentences:
        try:
            told.append(gettext(sentence).format_map(words))
        except KeyError:
            continue
    return told


def _joined(sentences: Sequence[str], facts: Mapping[str, Any]) -> str:
    # A sentence may end in somebody else's words, which may end in a full stop or not.
    told = _told(sentences, facts)
    return " ".join(said if said.endswith((".", "!", "?", "…")) else f"{said}." for said in told)


def _since(incident: Incident) -> str:
    if incident.count == 1:
        return gettext("Since {opened}.").format(opened=instant(incident.opened_at))
    return gettext("Since {opened}; seen {count} times, last at {seen}.").format(
        opened=instant(incident.opened_at), count=incident.count, seen=instant(incident.seen_at)
    )


def _lines(facts: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (label(name), shown(name, value, facts)) for name, value in facts.items() if value not in (None, "")
    )
