"""The rows of the listener page: songs, reasons, and what the listener thinks of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import numpy as np
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from recommender import listener_profiles
from recommender.dashboard.listen.access import Visitor
from recommender.dashboard.listen.styles import Style, draw_cover, read_styles, unknown_style
from recommender.engine.sampling import candidate_codec
from recommender.listener_profiles import SKIP_EXCLUDES_FOR, ListenerProfile
from recommender.models import Feedback, ModelVersion, ServedList
from recommender.models.served import SongCard, read_song_cards
from recommender.registry import model_loader
from recommender.serving import recommendations
from recommender.serving.list_limits import DISCOVERY, LIST_LENGTH, Mode, ServingOptions
from recommender.serving.reasons.cluster_name_translation import join_names
from recommender.serving.reasons.explanations import lead_artists, serialize_list, serialize_song
from recommender.serving.reasons.reasons import ReasonCode, reason_of, reason_sentence

FeedbackKind = Feedback.Kind
ROW_LENGTH: Final = 10
# A reload within this time shows the same lists, so that an answer can still be undone.
KEEP_LISTS_FOR: Final = timedelta(minutes=30)
TRENDING_DAYS: Final = 14
LATELY: Final = timedelta(days=30)
# The same seed at every discovery level, so that the dial shows only the effect of discovery.
PREVIEW_SEED: Final = "preview"
# Kinds of feedback, which the page shows to staff.
KINDS: Final = (
    gettext_noop("Like"), gettext_noop("Dislike"), gettext_noop("Skip"), gettext_noop("Listen"),
    gettext_noop("wrong style"), gettext_noop("Clear"),
)  # fmt: skip
ANSWER_TEXTS: Final = {
    FeedbackKind.LIKE: gettext_noop("You like it. Your next mix has more like this."),
    FeedbackKind.SKIP: gettext_noop("Skipped. It stays away for a month."),
    FeedbackKind.DISLIKE: gettext_noop("You will not get it again."),
    FeedbackKind.WRONG_STYLE: gettext_noop("Noted: it is not your idea of {style}."),
}


@dataclass(frozen=True)
class Card:
    song: Mapping[str, Any]  # see `serialize_song`
    style: Style
    cover: SafeString
    reason: str = ""
    list_id: str = ""  # the stored list that the song is from; '' if there is none
    play_link: str = ""
    answer: str = ""  # what the listener thinks of it, in a sentence; '' if they have not said
    is_new: bool = False  # in a list: by an artist whom the listener has not played

    @property
    def length(self) -> str:
        minutes, seconds = divmod(int(self.song["duration"]), 60)
        return f"{minutes}:{seconds:02}" if minutes or seconds else ""


@dataclass(frozen=True)
class Row:
    key: str
    title: str
    note: str
    cards: list[Card] = field(default_factory=list)


@dataclass(frozen=True)
class MixRow(Row):
    n_new: int = 0  # songs by artists that the listener has not played
    discovery: float = DISCOVERY
    list_id: str = ""
    limits: Sequence[str] = ()  # sentences about what is different from what was asked for


class RowBuilder:
    """Builds the rows of one page; a song in one row gets no place in a later one."""

    def __init__(
        self, visitor: Visitor, options: ServingOptions, now: datetime, *, store: bool, player: str = ""
    ) -> None:
        """Read what the rows of one request need.

        Args:
            store: whether lists are stored, because a listener gets to see them.
            player: template of play links, see PLAYER_URL_TEMPLATE.

        Raises:
            UnknownListener: there is no listener with the visitor's id.
        """
        self._visitor, self._options, self._now = visitor, options, now
        self._store = store and not visitor.is_preview
        self._player = player
        profile = listener_profiles.read_profile(visitor.listener_id, now)
        if profile is None:
            raise recommendations.UnknownListener(visitor.listener_id)
        self.profile: ListenerProfile = profile
        self._model = model_loader.current_model(options.storage).model
        self.styles = read_styles(self._model.version if self._model else None)
        self._shown: set[int] = set()

    @property
    def version(self) -> ModelVersion | None:
        return self._model.version if self._model else None

    def build_mix(
        self, discovery: float, *, exclude: Iterable[int] = (), is_new: bool = False
    ) -> tuple[MixRow, ServedList]:
        """The mix at a discovery level, and its list.

        Args:
            exclude: songs that other rows of the page have.
            is_new: draw a new list even if there is one from a moment ago.
        """
        self._shown.update(exclude)
        served = self._list(Mode.MIX, discovery, LIST_LENGTH, exclude, is_new=is_new)
        cards = self._cards_of(served)
        described = serialize_list(served)
        limits = [limit["message"] for limit in described["relaxed"]]
        if described["discovery"]["reason"]:
            limits.append(described["discovery"]["reason"])
        return (
            MixRow(
                "mix",
                _("Your mix"),
                _("Songs you have not played yet, drawn for your taste."),
                cards,
                n_new=sum(card.is_new for card in cards),
                discovery=discovery,
                list_id=str(served.pk) if served.is_stored else "",
                limits=limits,
            ),
            served,
        )

    def build_others(self) -> list[Row]:
        rows = [self._new_artists(), self._favourites(), *self._similar_rows(), self._trending()]
        return [row for row in rows if row.cards]

    def shown_songs(self) -> list[int]:
        return sorted(self._shown)

    def card_of(self, song_id: int, list_id: str = "") -> Card | None:
        cards = read_song_cards([song_id])
        if song_id not in cards:
            return None
        song = serialize_song(cards[song_id])
        return self._cards([CardFacts(song, self._style_of(song_id), list_id=list_id)])[0]

    def _new_artists(self) -> Row:
        served = self._list(Mode.DISCOVER, 1.0, ROW_LENGTH, self._shown)
        cards = [card for card in self._cards_of(served) if card.is_new]
        return Row("new", _("New for you"), _("By artists you have never played."), cards)

    def _favourites(self) -> Row:
        row = (
            "favourites",
            _("Favourites again"),
            _("Songs you play a lot; those you just heard come last."),
        )
        if not self.profile.play_counts.any():
            return Row(*row)
        served = self._list(Mode.FAVOURITES, DISCOVERY, ROW_LENGTH, self._shown)
        return Row(*row, self._cards_of(served, heard_only=True))

    def _similar_rows(self) -> list[Row]:
        """Songs similar to the listener's most played song, and to the last one."""
        played = self.profile
        known = (played.play_counts > 0) & ~np.isin(played.songs, list(played.excluded))
        if not known.any():
            return []
        dearest = np.flatnonzero(known)[np.lexsort((played.songs[known], -played.habits[known]))]
        latest = np.flatnonzero(known)[np.lexsort((played.songs[known], -played.last_played_at[known]))]
        cards = read_song_cards([*played.songs[dearest[:1]].tolist(), *played.songs[latest[:50]].tolist()])
        first = cards.get(int(played.songs[dearest[0]]))
        if first is None:
            return []
        rows = [
            Row(
                "because",
                _("Because you play {artists}").format(artists=_lead(first)),
                _("Similar to {song}, a song that you play a lot.").format(song=first.name),
                self._similar_to(first.id),
            )
        ]
        since = (self._now - LATELY).timestamp()
        recent = played.songs[latest[:50]][played.last_played_at[latest[:50]] >= since]
        others = [cards[song] for song in recent.tolist() if song in cards]
        last = next((card for card in others if _lead(card) != _lead(first)), None)
        if last is not None:
            note = _("You played {song} by {artist} lately.").format(song=last.name, artist=_lead(last))
            title = _("Similar to {song}").format(song=last.name)
            rows.append(Row("similar", title, note, self._similar_to(last.id)))
        return rows

    def _similar_to(self, song_id: int) -> list[Card]:
        found = recommendations.similar_songs(song_id, n=5 * ROW_LENGTH, options=self._options)
        return self._choose(row["song"] for row in found)

    def _trending(self) -> Row:
        found = recommendations.popular_songs(n=10 * ROW_LENGTH, days=TRENDING_DAYS, now=self._now)
        note = _("Most listeners in the last {days} days.").format(days=TRENDING_DAYS)
        return Row("trending", _("Trending"), note, self._choose(row["song"] for row in found))

    def _choose(self, songs: Iterable[Mapping[str, Any]]) -> list[Card]:
        """The first songs not yet on the page and not rejected."""
        unwanted = {*self.profile.excluded, *self.profile.excluded_clusters} - self._answered_lately()
        chosen = [song for song in songs if song["id"] not in self._shown | unwanted][:ROW_LENGTH]
        return self._cards([CardFacts(song, self._style_of(song["id"])) for song in chosen])

    def _answered_lately(self) -> set[int]:
        """Songs rejected lately, which stay on the page so that the listener can undo it."""
        lately = Feedback.objects.filter(
            listener_id=self._visitor.listener_id, received_at__gte=self._now - KEEP_LISTS_FOR
        )
        return set(lately.values_list("song_id", flat=True))

    def _style_of(self, song_id: int) -> Style:
        cluster = self._model.cluster_of(song_id) if self._model else None
        return self.styles.get(cluster.number, unknown_style()) if cluster else unknown_style()

    def _list(
        self, mode: Mode, discovery: float, n: int, exclude: Iterable[int], *, is_new: bool = False
    ) -> ServedList:
        listener_id = self._visitor.listener_id
        if self._store and not is_new:
            lists = ServedList.objects.filter(
                listener_id=listener_id, asked_by=self._visitor.served_to, mode=mode.value,
                discovery=discovery, generated_at__gte=self._now - KEEP_LISTS_FOR,
            )  # fmt: skip
            recent = lists.select_related("candidate_list", "challenger_candidate_list").first()
            if recent is not None:
                return recent
        return recommendations.recommend(
            listener_id, options=self._options, n=n, discovery=discovery, mode=mode, exclude=tuple(exclude),
            seed=None if self._store else PREVIEW_SEED, now=self._now, asked_by=self._visitor.served_to,
            store=self._store,
        )  # fmt: skip

    def _cards_of(self, served: ServedList, *, heard_only: bool = False) -> list[Card]:
        artists = _played_artists(served)
        list_id = str(served.pk) if served.is_stored else ""
        chosen = [
            item
            for item in served.items
            if item["song"] not in self._shown and (item.get("heard") or not heard_only)
        ]
        rows = []
        for item in chosen:
            style = self.styles.get(item["cluster"]) or self._style_of(item["song"])
            reason = plain_reason(item, style, artists.get(item["cluster"], ()))
            song = serialize_song(served.cards[item["song"]])
            rows.append(CardFacts(song, style, reason, list_id, is_new=not item["familiar"]))
        return self._cards(rows)

    def _cards(self, rows: Sequence["CardFacts"]) -> list[Card]:
        songs = [row.song["id"] for row in rows]
        self._shown.update(songs)
        answers = standing_answers(self._visitor.listener_id, songs, self._now)
        return [
            Card(
                row.song,
                row.style,
                draw_cover(row.song["id"], row.song["artist"], row.style),
                row.reason,
                row.list_id,
                play_link(self._player, row.song),
                describe_answer(answers.get(row.song["id"]), row.style),
                row.is_new,
            )
            for row in rows
        ]


class CardFacts(NamedTuple):
    song: Mapping[str, Any]
    style: Style
    reason: str = ""
    list_id: str = ""
    is_new: bool = False


def plain_reason(item: Mapping[str, Any], style: Style, artists: Sequence[str]) -> str:
    """An item's reason, with artists and a style in place of a cluster's name and share."""
    reason = reason_of(item)
    if reason is None or reason.code not in {ReasonCode.CLUSTER, ReasonCode.CLUSTER_LIKED}:
        return reason_sentence(item)
    return _("Because you play {artists}").format(artists=join_names([*artists[:1], style.phrase]))


def standing_answers(listener_id: int, songs: Iterable[int], now: datetime) -> dict[int, Feedback]:
    """The listener's latest opinion of each song, unless taken back.

    A skip ends after a month, or once the song was played later.
    """
    rows = Feedback.objects.not_withdrawn().filter(listener_id=listener_id, song_id__in=list(songs))
    found: dict[int, Feedback] = {}
    played = set()
    for row in rows.without_short_listens().order_by("-at", "-id"):
        if row.kind == FeedbackKind.LISTEN:
            if row.song_id not in found:
                played.add(row.song_id)
        else:
            found.setdefault(row.song_id, row)
    return {
        song: row
        for song, row in found.items()
        if row.kind != FeedbackKind.CLEAR
        and not (row.kind == FeedbackKind.SKIP and (song in played or row.at <= now - SKIP_EXCLUDES_FOR))
    }


def describe_answer(row: Feedback | None, style: Style) -> str:
    return _(ANSWER_TEXTS[FeedbackKind(row.kind)]).format(style=style.phrase) if row else ""


def play_link(template: str, song: Mapping[str, Any]) -> str:
    for name in ("id", "name", "artist", "album"):
        template = template.replace(f"{{{name}}}", quote(str(song[name]), safe=""))
    return template


def _played_artists(served: ServedList) -> dict[int, list[str]]:
    """The artists whom the listener plays most in each cluster of the list."""
    rows = [row for row in (served.candidate_list, served.challenger_candidate_list) if row is not None]
    songs_by_cluster: dict[int, tuple[int, ...]] = {}
    for row in reversed(rows):
        songs_by_cluster |= candidate_codec.decode_candidates(bytes(row.candidates)).played_in_cluster
    wanted = {item["cluster"] for item in served.items}
    songs_by_cluster = {key: songs for key, songs in songs_by_cluster.items() if key in wanted}
    cards = read_song_cards(song for songs in songs_by_cluster.values() for song in songs)
    return {
        cluster: lead_artists([cards[song] for song in songs if song in cards])
        for cluster, songs in songs_by_cluster.items()
    }


def _lead(card: SongCard) -> str:
    return (lead_artists([card]) or [card.artist])[0]
