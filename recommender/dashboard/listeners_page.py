"""The staff page of listeners with similar taste: their numbers and clusters, no personal data."""

from typing import Any, Final

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _

from ingestion.api.query_params import LARGEST_ID, SMALLEST_ID
from ingestion.page_permissions import page_permission
from recommender.dashboard.formatting import format_count, format_percent
from recommender.services import current_model
from recommender.serving.listener_similarity import find_similar_listeners, read_affinities
from recommender.serving.reasons.cluster_name_translation import stored_cluster_name

ROWS: Final = 20
MAX_CLUSTERS: Final = 5


class ListenerForm(forms.Form):
    listener = forms.IntegerField(min_value=SMALLEST_ID, max_value=LARGEST_ID, required=False)


@page_permission("ingestion.view_listener")
def similar_listeners_page(request: HttpRequest) -> HttpResponse:
    form = ListenerForm(request.GET)
    chosen = form.cleaned_data["listener"] if form.is_valid() else None
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": _("Similar listeners"),
        "chosen": chosen,
    }
    model = current_model().model
    if chosen is not None and model is not None:
        affinities = read_affinities(model.version.pk, also=chosen)
        names = {number: stored_cluster_name(name) for number, name in model.cluster_names.items()}
        own = affinities.shares[affinities.listeners == chosen]
        top = sorted(zip(own[0], affinities.clusters, strict=True), reverse=True) if len(own) else []
        context |= {
            "compared": format_count(max(0, len(affinities.listeners) - len(own))),
            "taste": [
                (int(cluster), names.get(int(cluster), str(cluster)), format_percent(round(share, 3)))
                for share, cluster in top[:MAX_CLUSTERS]
                if share > 0
            ],
            "similar": [
                (one.listener, format_percent(round(one.similarity, 3)), one.shared,
                 names.get(one.shared, str(one.shared)))
                for one in find_similar_listeners(affinities, chosen, ROWS)
            ],
        }  # fmt: skip
    return render(request, "recommender/listeners.html", context)
