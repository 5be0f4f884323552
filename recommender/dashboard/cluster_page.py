"""The staff page of one cluster of the serving model: its songs, feedback on them, and its past."""

from typing import Any, Final

from django.contrib import admin
from django.db.models import Count
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _

from ingestion.models import Song
from ingestion.page_permissions import page_permission
from recommender.dashboard.formatting import format_count
from recommender.models import Cluster, Feedback, sql
from recommender.services import current_model
from recommender.serving.listener_similarity import read_affinities
from recommender.serving.reasons.cluster_name_translation import cluster_name, family_name, translate_word
from recommender.serving.reasons.reasons import share_text

MAX_SONGS: Final = 30
MAX_VERSIONS: Final = 12


@page_permission("recommender.view_modelversion")
def cluster_page(request: HttpRequest, number: int) -> HttpResponse:
    model = current_model().model
    cluster = Cluster.objects.filter(version=model.version, number=number).first() if model else None
    if model is None or cluster is None:
        raise Http404
    songs = model.songs_of(number)
    feedback = Feedback.objects.not_withdrawn().filter(song_id__in=sql.ids_as_one_parameter(songs))
    family, name = family_name(cluster), cluster_name(cluster)
    all_songs, all_plays = model.version.n_songs, model.version.n_plays
    context = {
        **admin.site.each_context(request),
        "title": name,
        "cluster": cluster,
        "version": model.version,
        "facts": [
            (_("Songs"), _of_all(cluster.size, all_songs)),
            (
                _("Plays"),
                _of_all(cluster.plays, all_plays),
            ),
            *_listeners(model.version.pk, number),
            *_words(cluster.facts),
            *([(_("Style family"), family)] if family else []),
            # Rules of names are about it.
            *([(_("Name in English"), cluster.shown_name)] if name != cluster.shown_name else []),
        ],
        "songs": _songs(cluster, songs),
        "feedback": [
            (_(str(Feedback.Kind(row["kind"]).label)), format_count(row["n"]))
            for row in feedback.order_by().values("kind").annotate(n=Count("pk")).order_by("-n")
        ],
        "past": [
            (row, cluster_name(row))
            for row in Cluster.objects.filter(number=number)
            .select_related("version")
            .order_by("-version_id")[:MAX_VERSIONS]
        ],
    }
    return render(request, "recommender/cluster.html", context)


def _listeners(version: int, number: int) -> list[tuple[str, str]]:
    affinities = read_affinities(version)
    share = affinities.main_share_of(number)
    if share is None:
        return []
    text = _("the main cluster of {share} of {n} listeners").format(
        share=share_text(share), n=format_count(len(affinities.listeners))
    )
    return [(_("Listeners"), text)]


def _words(facts: dict[str, Any]) -> list[tuple[str, str]]:
    genres = ", ".join(f"{name} ({share_text(share)})" for name, share in facts.get("genres", {}).items())
    moods = ", ".join(map(translate_word, facts.get("moods", ())))
    decade = translate_word(facts.get("decade", ""))
    named = ((_("Genres"), genres), (_("Decade"), decade), (_("Mood"), moods))
    return [(name, text) for name, text in named if text]


def _songs(cluster: Cluster, songs: list[int]) -> list[Song]:
    """Songs of the cluster to show, first the most played ones that the training found."""
    first = [pk for pk in cluster.facts.get("examples", ()) if pk in set(songs)]
    chosen = list(dict.fromkeys([*first, *songs]))[:MAX_SONGS]
    found = Song.objects.in_bulk(chosen)
    return [found[pk] for pk in chosen if pk in found]


def _of_all(part: int, whole: int) -> str:
    share = share_text(part / whole if whole else 0.0)
    return _("{n} ({share} of all)").format(n=format_count(part), share=share)
