"""Views under /listen/: page, dial, answers, links and playlists."""

from collections.abc import Callable
from datetime import datetime
from functools import wraps
from typing import Any, Final
from uuid import UUID, uuid4

from django import forms
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from ingestion.api.query_params import LARGEST_ID, SMALLEST_ID
from ingestion.audit import Action, record_audit
from ingestion.models import Listener, ListeningHistory, Song
from ingestion.page_permissions import page_permission
from ingestion.source.repairs import read_id
from recommender.dashboard.listen import access, playlists, rows, taste
from recommender.dashboard.listen.access import InvalidLink, Visitor
from recommender.dashboard.listen.rows import RowBuilder
from recommender.feedback import events
from recommender.models import Feedback, ServedList
from recommender.models.served import read_song_cards
from recommender.services import serving_options
from recommender.serving import recommendations
from recommender.serving.list_limits import DISCOVERY
from recommender.serving.reasons.explanations import serialize_list, serialize_song

# Stricter than the other pages: nothing here is compiled or styled inline.
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
DIAL_STEP: Final = 0.05  # as in page.html
UNDO: Final = "undo"
ANSWERS: Final = (
    Feedback.Kind.LIKE.value, Feedback.Kind.SKIP.value, Feedback.Kind.DISLIKE.value,
    Feedback.Kind.WRONG_STYLE.value, UNDO,
)  # fmt: skip
MAX_EXCLUDED: Final = 200
# Staff see this many beside the list.
MAX_SESSIONS: Final = 12
MAX_SONGS_PER_SESSION: Final = 8
MAX_FEEDBACK: Final = 12
View = Callable[..., HttpResponse]


class PageForm(forms.Form):
    user = forms.IntegerField(
        label=gettext_lazy("Listener ID"), min_value=SMALLEST_ID, max_value=LARGEST_ID, required=False
    )
    discovery = forms.FloatField(label=gettext_lazy("Discovery"), min_value=0, max_value=1, required=False)

    def shown_discovery(self) -> float:
        """The discovery level, rounded to a step of the dial, because a list is stored for each level."""
        asked = self.cleaned_data.get("discovery") if self.is_valid() else None
        return DISCOVERY if asked is None else round(round(asked / DIAL_STEP) * DIAL_STEP, 2)


class AnswerForm(forms.Form):
    song = forms.IntegerField(min_value=SMALLEST_ID, max_value=LARGEST_ID)
    kind = forms.ChoiceField(choices=[(kind, kind) for kind in ANSWERS])
    list = forms.UUIDField(required=False)


def listener_view(view: View) -> View:
    """Show the view in the reader's language, uncached, with the strict content security policy."""

    @wraps(view)
    def respond(request: HttpRequest, *args: Any, **named: Any) -> HttpResponse:
        with translation.override(translation.get_language_from_request(request)):
            response = view(request, *args, **named)
        response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        return response

    return never_cache(respond)


@listener_view
@require_safe
def listener_page(request: HttpRequest) -> HttpResponse:
    """The page of a link's listener; for staff, a choice of listeners or a preview."""
    is_staff_request = "user" in request.GET and access.may_preview(request)
    if access.has_link(request) and not is_staff_request:
        try:
            visitor = access.find_visitor(request)
        except InvalidLink as error:
            return _refuse(request, error)
        if visitor is not None:
            return _page(request, visitor)
    return _staff_page(request)


@page_permission(access.VIEW_PERMISSION)
def _staff_page(request: HttpRequest) -> HttpResponse:
    form = PageForm(request.GET)
    listener_id = form.cleaned_data.get("user") if form.is_valid() else None
    if listener_id is not None and Listener.objects.filter(pk=listener_id).exists():
        return _page(request, Visitor(listener_id, is_preview=True))
    context = {
        "errors": [(form.fields[name].label, problems[0]) for name, problems in form.errors.items()],
        "unknown": listener_id,
        "examples": taste.example_listeners(serving_options(), timezone.now()),
    }
    return render(request, "listen/choose.html", context)


def _page(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    now, form = timezone.now(), PageForm(request.GET)
    builder = _builder(request, visitor, now)
    mix, served = builder.build_mix(form.shown_discovery())
    others = builder.build_others()
    bars = taste.affinity_bars(visitor.listener_id, builder.styles, serving_options(), now)
    own = {card.song["id"] for card in mix.cards}
    context = {
        **_mix_context(request, visitor, mix, served),
        "errors": [(form.fields[name].label, problems[0]) for name, problems in form.errors.items()],
        "rows": others,
        "shown": ",".join(str(song) for song in builder.shown_songs() if song not in own),
        "bars": bars[: taste.MAX_BARS],
        "more_bars": max(0, len(bars) - taste.MAX_BARS),
        "weeks": taste.weeks_of_listening(visitor.listener_id, now),
        "map": taste.style_map(builder.styles.values(), bars),
    }
    if access.may_preview(request):
        context |= _staff_context(request, visitor)
    return render(request, "listen/page.html", context)


@listener_view
@access.visitor_required
@require_safe
@access.rate_limited
def redraw_mix(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """The mix at another discovery level; requests with `moving` (the dial still turns) store nothing."""
    form = PageForm(request.GET)
    others = [read_id(one) for one in request.GET.get("shown", "").split(",")[:MAX_EXCLUDED]]
    is_moving = "moving" in request.GET
    builder = _builder(request, visitor, timezone.now(), store=not is_moving)
    mix, served = builder.build_mix(
        form.shown_discovery(), exclude=[one for one in others if one is not None]
    )
    response = render(request, "listen/mix.html", _mix_context(request, visitor, mix, served))
    if not is_moving:
        response.headers["HX-Replace-Url"] = _page_address(visitor, mix.discovery)
    return response


@listener_view
@access.visitor_required
@require_POST
@access.rate_limited
def draw_new_mix(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """Another mix at the same discovery level."""
    if visitor.is_preview:
        raise PermissionDenied
    builder = _builder(request, visitor, timezone.now(), store=True)
    mix = builder.build_mix(PageForm(request.POST).shown_discovery(), is_new=True)[0]
    return redirect(_page_address(visitor, mix.discovery))


@listener_view
@access.visitor_required
@require_POST
@access.rate_limited
def answer_song(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """Record or take back an opinion; htmx gets the song's buttons, others the page."""
    form = AnswerForm(request.POST)
    if visitor.is_preview or not form.is_valid():
        return HttpResponse(status=403 if visitor.is_preview else 400)
    song_id, kind, list_id = (form.cleaned_data[name] for name in ("song", "kind", "list"))
    try:
        _record_answer(visitor, song_id, kind, list_id)
    except events.UnknownIds:
        raise Http404 from None
    if request.headers.get("HX-Request") != "true":
        return redirect(f"{reverse('listen')}?{urlencode(_kept_query(request))}#song-{song_id}")
    builder = _builder(request, visitor, timezone.now())
    card = builder.card_of(song_id, str(list_id or ""))
    return render(request, "listen/answers.html", {"card": card, "visitor": visitor})


def _record_answer(visitor: Visitor, song_id: int, kind: str, list_id: UUID | None) -> None:
    listener_id, now = visitor.listener_id, timezone.now()
    if kind == UNDO:
        row = rows.standing_answers(listener_id, [song_id], now).get(song_id)
        if row is None:
            return
        if row.key_id == events.NO_KEY:
            events.withdraw_event(row.event_id, now=now)
            return
        # Another app has sent it, which alone may withdraw it; a `clear` has the same effect.
        kind = Feedback.Kind.CLEAR.value
    event = events.FeedbackEvent(
        uuid4().hex, listener_id, song_id, Feedback.Kind(kind), recommendation_id=list_id
    )
    events.record_events([event], received_at=now)


def _kept_query(request: HttpRequest) -> dict[str, str]:
    discovery = request.POST.get("discovery", "")
    return {"discovery": discovery} if discovery else {}


@listener_view
@access.visitor_required
@require_safe
def playlist(request: HttpRequest, visitor: Visitor, form: str) -> HttpResponse:
    """The mix as a file; `list` names a stored list, otherwise it is a preview."""
    songs = _playlist_songs(request, visitor)
    player = settings.PLAYER_URL_TEMPLATE
    if form == "jspf":
        body, kind = playlists.write_jspf(songs, player, timezone.now()), "application/jspf+json"
    else:
        body, kind = playlists.write_m3u(songs, player), "audio/x-mpegurl"
    response = HttpResponse(body, content_type=kind)
    response.headers["Content-Disposition"] = f'attachment; filename="mix.{form}"'
    return response


def _playlist_songs(request: HttpRequest, visitor: Visitor) -> list[dict[str, Any]]:
    named = forms.UUIDField(required=False)
    try:
        list_id = named.clean(request.GET.get("list", ""))
    except forms.ValidationError:
        raise Http404 from None
    if list_id is None:
        builder = _builder(request, visitor, timezone.now(), store=False)
        served = builder.build_mix(PageForm(request.GET).shown_discovery())[1]
    else:
        found = ServedList.objects.filter(pk=list_id, listener=visitor.listener_id).first()
        if found is None:
            raise Http404
        served = found
    cards = read_song_cards(item["song"] for item in served.items)
    return [serialize_song(cards[item["song"]]) for item in served.items if item["song"] in cards]


@listener_view
@require_safe
def open_link(request: HttpRequest, token: str) -> HttpResponse:
    try:
        days = access.read_link_token(token)[1]
    except InvalidLink as error:
        return _refuse(request, error)
    response = redirect("listen")
    access.remember_link(response, token, days)
    return response


@listener_view
@page_permission(access.LINK_PERMISSION)
@require_POST
def make_link(request: HttpRequest) -> HttpResponse:
    """Show a link to copy; with `open`, the owner acts as the listener until they stop or log out."""
    if not access.may_make_links(request):
        raise PermissionDenied
    form = PageForm(request.POST)
    listener_id = form.cleaned_data.get("user") if form.is_valid() else None
    if listener_id is None or not Listener.objects.filter(pk=listener_id).exists():
        raise Http404
    maker = request.user
    token = access.make_link_token(listener_id, maker_id=maker.pk or access.COMMAND_MAKER)
    record_audit(Action.LINK_MADE, maker.get_username(), f"listener {listener_id}")
    if "open" in request.POST:
        request.session[access.ACTING_KEY] = token
        return redirect("listen")
    link = request.build_absolute_uri(reverse("listen_open", args=[token]))
    context = {"link": link, "days": access.DEFAULT_DAYS, "listener_id": listener_id}
    return render(request, "listen/link.html", context)


@listener_view
@require_POST
def leave(request: HttpRequest) -> HttpResponse:
    response = HttpResponseRedirect(reverse("listen"))
    access.forget_link(request, response)
    return response


def _refuse(request: HttpRequest, error: InvalidLink) -> HttpResponse:
    response = render(request, "listen/no_access.html", {"problem": str(error)}, status=403)
    access.forget_link(request, response)
    return response


def _builder(request: HttpRequest, visitor: Visitor, now: datetime, *, store: bool = True) -> RowBuilder:
    try:
        return RowBuilder(
            visitor, serving_options(), now, store=store and request.method != "HEAD",
            player=settings.PLAYER_URL_TEMPLATE,
        )  # fmt: skip
    except recommendations.UnknownListener:
        raise Http404 from None


def _query(visitor: Visitor, discovery: float) -> dict[str, str]:
    return {**({"user": str(visitor.listener_id)} if visitor.is_preview else {}), "discovery": str(discovery)}


def _page_address(visitor: Visitor, discovery: float) -> str:
    """The address at which a reload shows the same mix."""
    return f"{reverse('listen')}?{urlencode(_query(visitor, discovery))}"


def _mix_context(
    request: HttpRequest, visitor: Visitor, mix: rows.MixRow, served: ServedList
) -> dict[str, Any]:
    query = _query(visitor, mix.discovery)
    is_staff = access.may_preview(request)
    return {
        "visitor": visitor,
        "mix": mix,
        "playlist_query": urlencode({**query, **({"list": mix.list_id} if mix.list_id else {})}),
        "is_staff": is_staff,
        "described": serialize_list(served) if is_staff else None,
    }


def _staff_context(request: HttpRequest, visitor: Visitor) -> dict[str, Any]:
    listener = Listener.objects.get(pk=visitor.listener_id)
    feedback = Feedback.objects.not_withdrawn().filter(listener=listener).select_related("song")
    return {
        "may_make_links": access.may_make_links(request),
        "listener": listener,
        "sessions": _recent_sessions(listener),
        "feedback": feedback[:MAX_FEEDBACK],
    }


def _recent_sessions(listener: Listener) -> list[dict[str, Any]]:
    sessions = ListeningHistory.objects.filter(user=listener, unavailable_at=None).order_by("-created_at")
    histories = list(sessions[:MAX_SESSIONS])
    songs = Song.objects.in_bulk({song for history in histories for song in history.items})
    return [
        {
            "at": history.created_at,
            "songs": [songs[pk] for pk in history.items[:MAX_SONGS_PER_SESSION] if pk in songs],
            "more": max(0, len(history.items) - MAX_SONGS_PER_SESSION),
        }
        for history in histories
    ]
