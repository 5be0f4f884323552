"""The listener page: links, previews, rows, the dial, answers and playlists, over HTTP."""

import json
import re
from datetime import timedelta
from html import unescape
from io import StringIO
from typing import Any

import polib  # type: ignore[import-untyped]
import pytest
from django.contrib.auth.models import Permission, User
from django.core import signing
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from ingestion.api.sliding_window import Rate
from ingestion.models import AuditEntry, Listener, ListeningHistory, Song
from recommender.dashboard.listen import access
from recommender.dashboard.listen.rows import standing_answers
from recommender.feedback import events
from recommender.models import CandidateList, Cluster, Feedback, ServedList
from recommender.serving.list_limits import ServingOptions
from tests.support.builders.recommendations import LISTENER, make_new_listener, played_songs, record_feedback
from tests.support.builders.roles import find_role
from tests.support.project import ROOT

pytestmark = pytest.mark.django_db
FRENCH = ROOT / "moovitamix" / "locale" / "fr" / "LC_MESSAGES" / "django.po"


@pytest.fixture(autouse=True)
def _stored_there(options: ServingOptions, settings: Any) -> None:
    settings.MODEL_STORAGE = options.storage


@pytest.fixture
def listener() -> Client:
    """A browser in which the listener has opened their link."""
    client = Client()
    client.cookies[access.COOKIE] = access.make_link_token(LISTENER)
    return client


def staff_client(role: str) -> Client:
    user = User.objects.create_user(role, is_staff=True)
    user.groups.add(find_role(role))
    client = Client()
    client.force_login(user)
    return client


def text_of(answer: Any) -> str:
    return unescape(answer.content.decode())


def shown_songs(text: str) -> list[int]:
    return [int(song) for song in re.findall(r'<li class="card" id="song-(\d+)"', text)]


def mix_songs(text: str) -> list[int]:
    return shown_songs(text.split("</section>", 1)[0])


def answer(client: Client, song: int, kind: str, headers: Any = None, **fields: Any) -> Any:
    return client.post(reverse("listen_answers"), {"song": song, "kind": kind, **fields}, headers=headers)


# --- Who gets in ---------------------------------------------------------------------------------------


def test_a_link_opens_the_page_of_its_listener_and_the_address_does_not_keep_it() -> None:
    client, token = Client(), access.make_link_token(LISTENER)

    opened = client.get(reverse("listen_open", args=[token]))
    page = client.get(opened["Location"])

    cookie = opened.cookies[access.COOKIE]
    assert opened["Location"] == "/listen/"
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/listen/")
    assert "Your mix" in text_of(page)
    assert token not in text_of(page)


@pytest.mark.parametrize("days", [1, 7])
def test_a_link_expires(days: int) -> None:
    token = access.make_link_token(LISTENER, days=days)
    old = signing.TimestampSigner(salt=access.SALT)
    value = old.unsign(token)
    stamp = signing.b62_encode(int((timezone.now() - timedelta(days=days, hours=1)).timestamp()))
    aged = f"{value}:{stamp}"

    with pytest.raises(access.InvalidLink, match="has expired"):
        access.read_link_token(f"{aged}:{old.signature(aged)}")


def test_a_changed_link_is_refused_and_forgotten() -> None:
    client, token = Client(), access.make_link_token(LISTENER)

    opened = client.get(reverse("listen_open", args=["x" + token]))
    client.cookies[access.COOKIE] = "x" + token
    page = client.get(reverse("listen"))

    assert (opened.status_code, page.status_code) == (403, 403)
    assert "This link is not valid." in text_of(page)
    assert page.cookies[access.COOKIE]["max-age"] == 0


def test_a_link_ends_with_the_right_of_its_maker() -> None:
    owner = staff_client("owner")
    made = text_of(owner.post(reverse("listen_links"), {"user": LISTENER}))
    link = re.search(r'value="http://testserver(/listen/open/[^"]+)"', made)
    assert link is not None

    before = Client().get(link[1]).status_code
    User.objects.get(username="owner").groups.set([find_role("operator")])
    after = Client().get(link[1]).status_code

    assert (before, after) == (302, 403)
    entry = AuditEntry.objects.get(action="link_made")
    assert (entry.actor, entry.target) == ("owner", f"listener {LISTENER}")


def test_an_owner_acts_as_a_listener_until_they_stop() -> None:
    owner = staff_client("owner")

    owner.post(reverse("listen_links"), {"user": LISTENER, "open": "1"})
    acting = text_of(owner.get(reverse("listen")))
    owner.post(reverse("listen_leave"))
    stopped = text_of(owner.get(reverse("listen")))

    assert f"You act as listener {LISTENER}." in acting
    assert 'value="like"' in acting
    assert "Choose a listener" in stopped
    assert set(ServedList.objects.values_list("asked_by", flat=True)) == {"listener page: owner"}


def test_acting_as_a_listener_ends_with_the_login() -> None:
    owner = staff_client("owner")
    owner.post(reverse("listen_links"), {"user": LISTENER, "open": "1"})

    owner.logout()
    page = owner.get(reverse("listen"))

    assert f"listener {LISTENER}" not in text_of(page)
    assert access.COOKIE not in owner.cookies


def test_a_listener_can_make_the_browser_forget_the_link(listener: Client) -> None:
    page = text_of(listener.get(reverse("listen")))
    left = listener.post(reverse("listen_leave"))

    assert "Forget me in this browser" in page
    assert left.cookies[access.COOKIE]["max-age"] == 0


def test_who_may_not_see_listeners_makes_no_link() -> None:
    staff = User.objects.create_user("helper", is_staff=True)
    staff.user_permissions.add(Permission.objects.get(codename="add_feedback"))
    client = Client()
    client.force_login(staff)

    assert client.post(reverse("listen_links"), {"user": LISTENER}).status_code == 403


def test_a_skip_of_long_ago_and_one_before_a_play_no_longer_stand(listener: Client) -> None:
    now = timezone.now()
    old, played = Song.objects.order_by("pk").values_list("pk", flat=True)[:2]
    events.record_events(
        [
            events.FeedbackEvent("a", LISTENER, old, Feedback.Kind.SKIP, at=now - timedelta(days=31)),
            events.FeedbackEvent("b", LISTENER, played, Feedback.Kind.SKIP, at=now - timedelta(hours=2)),
            events.FeedbackEvent("c", LISTENER, played, Feedback.Kind.LISTEN, seconds=60.0),
        ],
        received_at=now,
    )

    assert standing_answers(LISTENER, [old, played], now) == {}
    assert standing_answers(LISTENER, [old], now - timedelta(days=20)).keys() == {old}


@pytest.mark.parametrize("number", ["1" * 5000, "\N{SUPERSCRIPT TWO}", "1.5"])
def test_numbers_that_are_no_ids_are_refused(listener: Client, number: str) -> None:
    shown = listener.get(reverse("listen_mix"), {"shown": number})
    named = staff_client("viewer").get(reverse("listen_mix"), {"user": number})

    assert (shown.status_code, named.status_code) == (200, 403)


def test_the_command_prints_a_link_at_the_site_s_address(settings: Any) -> None:
    settings.SITE_URL = "https://music.example.org"
    out = StringIO()

    call_command("listenerlink", str(LISTENER), "--days", "2", stdout=out)

    link = out.getvalue().strip()
    assert link.startswith("https://music.example.org/listen/open/")
    assert Client().get(link.removeprefix("https://music.example.org")).status_code == 302
    with pytest.raises(CommandError, match="There is no user 4711"):
        call_command("listenerlink", "4711")


def test_the_page_allows_no_inline_script_and_no_eval(listener: Client) -> None:
    page = listener.get(reverse("listen"))

    policy = page.headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert re.findall(r'<script(?! src=)|style="| on\w+="', text_of(page)) == []


# --- What is stored ------------------------------------------------------------------------------------


def test_a_listener_is_served_and_a_reload_shows_the_same_lists(listener: Client) -> None:
    first = mix_songs(text_of(listener.get(reverse("listen"))))
    stored = ServedList.objects.count()
    again = mix_songs(text_of(listener.get(reverse("listen"))))

    assert first == again
    assert len(first) == 20
    assert ServedList.objects.count() == stored == 3
    assert set(ServedList.objects.values_list("asked_by", "listener_id")) == {("listener page", LISTENER)}


def test_a_listener_gets_another_mix_on_request_and_after_half_an_hour(listener: Client) -> None:
    listener.get(reverse("listen"))
    listener.post(reverse("listen_new"), {"discovery": "0.3"})
    asked = ServedList.objects.filter(mode="mix").count()
    ServedList.objects.update(generated_at=timezone.now() - timedelta(minutes=31))
    listener.get(reverse("listen"))

    assert asked == 2
    assert ServedList.objects.filter(mode="mix").count() == 3


def test_a_preview_stores_nothing_and_has_no_buttons() -> None:
    viewer = staff_client("viewer")

    page = text_of(viewer.get(reverse("listen"), {"user": LISTENER}))
    mix = text_of(viewer.get(reverse("listen_mix"), {"user": str(LISTENER), "discovery": "1"}))
    refused = viewer.post(reverse("listen_answers") + f"?user={LISTENER}", {"song": 1, "kind": "like"})

    assert len(mix_songs(page)) == len(mix_songs(mix)) == 20
    assert 'value="like"' not in page + mix
    assert "Act as this listener" not in page
    assert refused.status_code == 403
    assert ServedList.objects.count() + CandidateList.objects.count() + Feedback.objects.count() == 0


def test_looking_at_the_head_of_the_page_stores_nothing(listener: Client) -> None:
    listener.head(reverse("listen"))

    assert ServedList.objects.count() == 0


# --- What it shows -------------------------------------------------------------------------------------


def test_every_song_has_one_place(listener: Client) -> None:
    text = text_of(listener.get(reverse("listen")))

    songs = shown_songs(text)
    assert len(songs) == len(set(songs)) > 40
    for title in ("Your mix", "New for you", "Favourites again", "Because you play", "Similar to"):
        assert f">{title}" in text


def test_every_song_has_one_place_beside_rows_of_a_moment_ago(listener: Client) -> None:
    for discovery in ("0.3", "0.9", "1"):
        songs = shown_songs(text_of(listener.get(reverse("listen"), {"discovery": discovery})))

        assert len(songs) == len(set(songs))


def test_a_listener_sees_no_propensity_no_version_and_no_listener_number(listener: Client) -> None:
    text = text_of(listener.get(reverse("listen")))

    version = ServedList.objects.filter(version__isnull=False)[0].version
    assert version is not None
    assert "ropensity" not in text
    assert version.label not in text
    assert f"listener {LISTENER}" not in text
    assert "For staff" not in text


def test_reasons_name_artists_and_styles_but_no_share_and_no_cluster(listener: Client) -> None:
    text = text_of(listener.get(reverse("listen")))

    reasons = re.findall(r'<p class="reason">(.*?)</p>', text)
    names = {cluster.shown_name for cluster in Cluster.objects.all() if ", " in cluster.shown_name}
    assert len(reasons) >= 20
    assert any(reason.startswith("Because you play ") for reason in reasons)
    assert not [reason for reason in reasons if "%" in reason or any(name in reason for name in names)]


def test_affinity_bars_are_shares_of_a_full_track(listener: Client) -> None:
    text = text_of(listener.get(reverse("listen"))).split("<h3>Styles</h3>")[1].split("<h3>")[0]

    widths = [float(width) for width in re.findall(r'<rect width="([\d.]+)"', text)]
    percents = [float(share) for share in re.findall(r">(\d+) %</span>", text)]
    assert sum(widths) <= 100.1
    assert widths == sorted(widths, reverse=True)
    assert [round(width) for width in widths][: len(percents)] == percents


def test_weeks_count_what_was_played_and_nothing_else(listener: Client) -> None:
    ListeningHistory.objects.filter(user=LISTENER).delete()
    now = timezone.now()
    one, other = Song.objects.values_list("pk", flat=True)[:2]
    for days, items in ((1, [one, 2]), (8, [3]), (400, [4]), (-1, [5])):
        at = now - timedelta(days=days)
        ListeningHistory.objects.create(user_id=LISTENER, items=items, created_at=at, updated_at=at)
    # The app has reported the first song, which the source knows too, and another one.
    reported = [
        events.FeedbackEvent(
            f"app-{song}", LISTENER, song, Feedback.Kind.LISTEN, 200, at=now - timedelta(days=1, minutes=1)
        )
        for song in (one, other)
    ]
    events.record_events(reported, received_at=now)

    text = text_of(listener.get(reverse("listen")))

    assert "4 in all, at most 3 in one week" in " ".join(text.split())


def test_who_asks_faster_than_a_person_can_is_asked_to_wait(
    listener: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "RATE", Rate(2, 60))

    answers = [listener.get(reverse("listen_mix"), {"moving": "1"}) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert int(answers[2].headers["Retry-After"]) >= 1
    assert "That was too fast." in text_of(answers[2])


def test_a_song_has_a_play_link_only_with_a_player(listener: Client, settings: Any) -> None:
    song = mix_songs(text_of(listener.get(reverse("listen"))))[0]
    without = text_of(listener.get(reverse("listen")))
    settings.PLAYER_URL_TEMPLATE = "https://player.example.org/{id}?by={artist}"
    Song.objects.filter(pk=song).update(artist='A & "B"')

    text = listener.get(reverse("listen")).content.decode()

    assert "player.example.org" not in without
    assert f'href="https://player.example.org/{song}?by=A%20%26%20%22B%22"' in text


def test_names_of_songs_cannot_bring_markup_along(listener: Client) -> None:
    Song.objects.update(name="<script>x</script>", artist="<b>&", album='"><i>')

    text = listener.get(reverse("listen")).content.decode()

    assert "<script>x" not in text
    assert "<b>" not in text
    assert "<i>" not in text


def test_a_listener_without_plays_gets_popular_songs_and_an_empty_profile() -> None:
    client = Client()
    client.cookies[access.COOKIE] = access.make_link_token(make_new_listener())

    text = text_of(client.get(reverse("listen")))

    assert len(mix_songs(text)) == 20
    assert "Favourites again" not in text
    assert "styles appear after the first songs have been played" in text
    assert "No songs have been played in the last 26 weeks." in text


def test_staff_choose_among_listeners_with_a_picture_of_their_taste() -> None:
    text = text_of(staff_client("viewer").get(reverse("listen")))

    assert 1 <= text.count('<a href="?user=') <= 12
    assert text.count("<rect x=") > 12
    assert not set(Listener.objects.values_list("email", flat=True)[:60]).intersection(text.split())


def test_staff_see_how_the_mix_was_drawn() -> None:
    text = text_of(staff_client("viewer").get(reverse("listen"), {"user": LISTENER}))

    assert "Propensity: the probability" in text
    assert "Latest listening sessions" in text


def test_a_browser_that_asks_for_french_gets_no_english(listener: Client) -> None:
    Song.objects.update(name="Nom", artist="Artiste", album="Album")
    french = {"Accept-Language": "fr-CA"}

    text = text_of(listener.get(reverse("listen"), headers=french))
    reply = text_of(answer(listener, mix_songs(text)[0], "skip", headers={**french, "HX-Request": "true"}))
    refused = text_of(Client().get(reverse("listen_open", args=["made:up"]), headers=french))

    assert '<html lang="fr">' in text
    assert "morceaux sur 20 par de nouveaux artistes." in text
    assert "Passé." in reply
    assert "pas valable" in refused
    english = [
        entry.msgid for entry in polib.pofile(str(FRENCH)) if " " in entry.msgid and "%(" not in entry.msgid
    ]
    assert [phrase for phrase in english if phrase in text + reply + refused] == []


# --- The dial ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("discovery", [0.0, 1.0])
def test_the_dial_says_how_many_songs_are_by_new_artists(listener: Client, discovery: float) -> None:
    text = text_of(listener.get(reverse("listen_mix"), {"discovery": str(discovery)}))

    served = ServedList.objects.get()
    new = sum(not item["familiar"] for item in served.items)
    assert f"{new} of 20 songs by new artists." in text
    assert served.discovery == discovery


def test_only_the_list_at_which_the_dial_comes_to_rest_is_stored(listener: Client) -> None:
    for discovery in (0.1, 0.2, 0.3):
        listener.get(reverse("listen_mix"), {"discovery": str(discovery), "moving": "1"})
    moving = ServedList.objects.count()
    listener.get(reverse("listen_mix"), {"discovery": "0.3"})

    assert (moving, ServedList.objects.count()) == (0, 1)


def test_the_dial_leaves_out_songs_of_the_other_rows(listener: Client) -> None:
    page = text_of(listener.get(reverse("listen")))
    shown = re.search(r'data-shown="([\d,]+)"', page)
    assert shown is not None

    text = text_of(listener.get(reverse("listen_mix"), {"discovery": "0.9", "shown": shown[1]}))

    others = {int(song) for song in shown[1].split(",")}
    assert others == set(shown_songs(page)) - set(mix_songs(page))
    assert not others.intersection(mix_songs(text))


# --- Answers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("like", "You like it."), ("skip", "Skipped."), ("dislike", "You will not get it again."),
        ("wrong_style", "Noted: it is not your idea of"),
    ],
)  # fmt: skip
def test_an_answer_is_stored_with_its_list_and_can_be_undone(listener: Client, kind: str, said: str) -> None:
    text = text_of(listener.get(reverse("listen")))
    song, served = mix_songs(text)[0], ServedList.objects.get(mode="mix")

    back = answer(listener, song, kind, list=served.pk, discovery="0.30")
    answered = text_of(listener.get(back["Location"]))
    stored = Feedback.objects.get()
    answer(listener, song, "undo")
    undone = text_of(listener.get(reverse("listen")))

    assert back["Location"] == f"/listen/?discovery=0.30#song-{song}"
    assert (stored.kind, stored.song_id, stored.listener_id) == (kind, song, LISTENER)
    assert stored.served_list_id == served.pk
    assert said in answered
    assert said not in undone
    assert Feedback.objects.not_withdrawn().count() == 0


def test_htmx_gets_the_song_s_buttons_alone(listener: Client) -> None:
    song = played_songs().pop()

    said = answer(listener, song, "like", headers={"HX-Request": "true"})

    text = text_of(said)
    assert text.strip().startswith("<form")
    assert "Undo" in text
    assert ServedList.objects.count() == 0


def test_undo_takes_back_what_an_app_has_sent_by_clearing_it(listener: Client) -> None:
    song = played_songs().pop()
    record_feedback("like", song)
    Feedback.objects.update(key_id=3)

    answer(listener, song, "undo")

    assert list(Feedback.objects.order_by("pk").values_list("kind", "key_id")) == [("like", 3), ("clear", 0)]


def test_an_answer_about_another_s_list_or_an_unknown_song_is_refused(listener: Client) -> None:
    other = Client()
    other.cookies[access.COOKIE] = access.make_link_token(make_new_listener())
    other.get(reverse("listen"))
    song, foreign = played_songs().pop(), ServedList.objects.filter(mode="mix").get()

    statuses = [
        answer(listener, song, "like", list=foreign.pk).status_code,
        answer(listener, 10**17, "like").status_code,
        answer(listener, song, "adore").status_code,
        listener.get(reverse("listen_playlist", args=["jspf"]), {"list": str(foreign.pk)}).status_code,
        Client().post(reverse("listen_answers"), {"song": song, "kind": "like"}).status_code,
    ]

    assert statuses == [404, 404, 400, 404, 403]
    assert Feedback.objects.count() == 0


def test_an_answer_needs_the_page_s_form(listener: Client) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.cookies[access.COOKIE] = listener.cookies[access.COOKIE].value

    assert answer(strict, played_songs().pop(), "like").status_code == 403


# --- Playlists -----------------------------------------------------------------------------------------


def test_the_mix_is_saved_as_it_was_served(listener: Client) -> None:
    songs = mix_songs(text_of(listener.get(reverse("listen"))))
    served = ServedList.objects.get(mode="mix")

    m3u = listener.get(reverse("listen_playlist", args=["m3u8"]), {"list": str(served.pk)})
    jspf = listener.get(reverse("listen_playlist", args=["jspf"]), {"list": str(served.pk)})

    names = [Song.objects.get(pk=song).name for song in songs]
    lines = m3u.content.decode().splitlines()
    assert lines[0] == "#EXTM3U"
    assert [line.split(" - ", 1)[1] for line in lines if line.startswith("#EXTINF:")] == names
    assert [track["title"] for track in json.loads(jspf.content)["playlist"]["track"]] == names
    assert jspf["Content-Disposition"] == 'attachment; filename="mix.jspf"'
