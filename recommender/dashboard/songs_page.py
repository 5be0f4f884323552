"""The staff page of popular and latest songs, and of songs similar to a chosen one."""

from typing import Any, Final

from django import forms
from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _

from ingestion.api.query_params import LARGEST_ID, SMALLEST_ID
from ingestion.models import Song
from ingestion.page_permissions import page_permission
from recommender.services import serving_options
from recommender.serving import recommendations

ROWS: Final = 15
POPULAR_DAYS: Final = 14


class SongsForm(forms.Form):
    q = forms.CharField(max_length=200, required=False)
    song = forms.IntegerField(min_value=SMALLEST_ID, max_value=LARGEST_ID, required=False)


@page_permission("recommender.view_modelversion")
def songs_page(request: HttpRequest) -> HttpResponse:
    form = SongsForm(request.GET)
    asked: dict[str, Any] = form.cleaned_data if form.is_valid() else {}
    text = asked.get("q", "").strip()
    available = Song.objects.filter(unavailable_at=None)
    chosen = Song.objects.filter(pk=asked["song"]).first() if asked.get("song") is not None else None
    context = {
        **admin.site.each_context(request),
        "title": _("Songs"),
        "text": text,
        "days": POPULAR_DAYS,
        "found": available.filter(Q(name__icontains=text) | Q(artist__icontains=text))[:ROWS] if text else [],
        "chosen": chosen,
        "similar": recommendations.similar_songs(chosen.pk, n=ROWS, options=serving_options())
        if chosen
        else [],
        "popular": recommendations.popular_songs(n=ROWS, days=POPULAR_DAYS),
        "latest": available.order_by("-created_at", "-id")[:ROWS],
    }
    return render(request, "recommender/songs.html", context)
