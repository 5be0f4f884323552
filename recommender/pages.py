"""Pages for staff: what a listener has heard and likes, and what would be recommended at any discovery."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.views.decorators import staff_member_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from ingestion.models import Listener, ListeningHistory, Song
from recommender import serving
from recommender.configuration import serving_options
from recommender.models import Feedback

SESSIONS = 12  # what fits beside the recommendations without scrolling
SONGS_A_SESSION = 8


class Wish(forms.Form):
    """What the page is asked for; its fields teach what they mean."""

    user = forms.IntegerField(label="Listener's id", min_value=0, required=False)
    discovery = forms.FloatField(label="Discovery", min_value=0, max_value=1, required=False)
    n = forms.IntegerField(label="Songs", min_value=1, max_value=100, required=False)


@staff_member_required
def listen(request: HttpRequest) -> HttpResponse:
    """The listener page: history, affinities as bars, and a preview of recommendations with their reasons."""
    wish = Wish(request.GET)
    asked = wish.cleaned_data if wish.is_valid() else {}
    context = {
        **admin.site.each_context(request),
        "title": "Listener",
        "errors": wish.errors,
        "user_id": asked.get("user"),
        "discovery": 0.3 if asked.get("discovery") is None else asked["discovery"],
        "n": asked.get("n") or 20,
        "examples": [] if asked.get("user") is not None else _examples(),
    }
    if asked.get("user") is not None:
        context.update(_listener(asked["user"], context["n"], context["discovery"]))
    return render(request, "recommender/listen.html", context)


def _listener(listener_id: int, n: int, discovery: float) -> dict[str, Any]:
    listener = Listener.objects.filter(pk=listener_id).first()
    if listener is None:
        return {"unknown": True, "examples": _examples()}
    options = serving_options()
    # The same draw at every discovery, so that moving it shows what discovery does, and nothing else.
    preview = serving.preview(listener_id, n=n, discovery=discovery, options=options, seed="preview")
    affinities = serving.affinities_of(listener_id, options=options)
    most = max((affinity.affinity for affinity in affinities), default=0.0)
    return {
        "listener": listener,
        "affinities": [
            {"name": row.name, "percent": 100 * row.affinity, "width": 100 * row.affinity / most}
            for row in affinities[:12]
            if row.affinity > 0
        ],
        "preview": serving.describe(preview),
        "sessions": _sessions(listener),
        "feedback": Feedback.objects.filter(listener=listener).select_related("song")[:12],
    }


def _sessions(listener: Listener) -> list[dict[str, Any]]:
    histories = list(
        ListeningHistory.objects.filter(user=listener, unavailable_at=None).order_by("-created_at")[:SESSIONS]
    )
    songs = Song.objects.in_bulk({song for history in histories for song in history.items})
    return [
        {
            "at": history.created_at,
            "songs": [songs[pk] for pk in history.items[:SONGS_A_SESSION] if pk in songs],
            "more": max(0, len(history.items) - SONGS_A_SESSION),
        }
        for history in histories
    ]


def _examples() -> list[int]:
    """Some listeners who have listened lately, to start from."""
    latest = ListeningHistory.objects.order_by("-id").values_list("user_id", flat=True)[:200]
    return sorted(set(latest))[:12]
