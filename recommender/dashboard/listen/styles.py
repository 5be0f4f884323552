"""Styles as listeners read them: a phrase for each cluster, and the colour of its family."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _

from recommender.engine.identity.text import fold_key
from recommender.models import Cluster, ModelVersion
from recommender.serving.reasons.cluster_name_translation import (
    DECADE,
    WORDS,
    cluster_name,
    describe_style,
    family_name,
)

# Hues that differ from their neighbours also for people who see red and green alike.
HUES: Final = (262, 199, 24, 150, 330, 48, 225, 172, 0, 288, 84, 210)


@dataclass(frozen=True)
class Style:
    """How the listener page presents a song cluster, without machine-learning terms."""

    number: int | None
    name: str  # as pages and the API call the cluster
    phrase: str  # within a sentence, such as "1990s country"
    hue: int  # 0 to 359, the same for all clusters of a family
    family: str = ""
    size: int = 0
    place: tuple[float, float] | None = None  # on the map of clusters

    @property
    def colour(self) -> str:
        return f"hsl({self.hue},58%,48%)"


def unknown_style() -> Style:
    return Style(None, _("Other styles"), _("other styles"), 220)


def read_styles(version: ModelVersion | None) -> dict[int, Style]:
    clusters = list(Cluster.objects.filter(version=version).order_by("number")) if version else []
    families = sorted({_family_id(cluster) for cluster in clusters})
    hues = {family: HUES[place % len(HUES)] for place, family in enumerate(families)}
    return {
        cluster.number: Style(
            cluster.number,
            cluster_name(cluster),
            phrase_of(cluster),
            hues[_family_id(cluster)],
            family_name(cluster) or cluster_name(cluster),
            cluster.size,
            _place(cluster.facts),
        )
        for cluster in clusters
    }


def _family_id(cluster: Cluster) -> int:
    return int(cluster.facts.get("family", {}).get("id", cluster.number))


def _place(facts: Mapping[str, list[float]]) -> tuple[float, float] | None:
    x_y = facts.get("map")
    return (float(x_y[0]), float(x_y[1])) if x_y else None


def phrase_of(cluster: Cluster) -> str:
    """The cluster's name as a phrase: "1990s country"; names by artists and staff stay."""
    if cluster.is_named_by_staff:
        return cluster.shown_name
    head, *extras = cluster.shown_name.split(", ")
    genres = {fold_key(genre) for genre in cluster.facts.get("genres", ())}
    is_of_genres = fold_key(head) in genres or all(fold_key(part) in genres for part in head.split(" and "))
    if not is_of_genres or not all(extra in WORDS or DECADE.fullmatch(extra) for extra in extras):
        return cluster_name(cluster)
    # Abbreviations such as R&B keep their capitals.
    lowered = head if head[1:] != head[1:].lower() else head.lower()
    return describe_style(lowered, extras)


def draw_cover(song_id: int, artist: str, style: Style) -> SafeString:
    """A decorative square in the style's colour, always the same for a song."""
    digits = blake2b(str(song_id).encode(), digest_size=8).digest()
    dark, light = f"hsl({style.hue},52%,34%)", f"hsl({(style.hue + 28) % 360},66%,62%)"
    x, y, size = 10 + digits[1] % 44, 18 + digits[2] % 28, 12 + digits[3] % 14
    angle = digits[4] % 180
    circles = (
        f'<circle cx="{x}" cy="{y}" r="{size}" fill="{light}"/>'
        f'<circle cx="{64 - x}" cy="{64 - y}" r="{size / 2}" fill="{style.colour}"/>'
    )
    stripes = (
        f'<g transform="rotate({angle} 32 32)"><path d="M-20 {y}h104v{size / 2}h-104z" fill="{light}"/>'
        f'<path d="M-20 {y + size}h104v{size / 4}h-104z" fill="{style.colour}"/></g>'
    )
    rings = (
        f'<g fill="none" stroke="{light}" stroke-width="4"><circle cx="{x}" cy="{y}" r="{size}"/>'
        f'<circle cx="{x}" cy="{y}" r="{size + 11}" stroke="{style.colour}"/>'
        f'<circle cx="{x}" cy="{y}" r="{size + 22}"/></g>'
    )
    peaks = (
        f'<g transform="rotate({angle} 32 32)"><path d="M{x} {y - size}l{size} {2 * size}h-{2 * size}z" '
        f'fill="{light}"/><path d="M-20 54h104v30h-104z" fill="{style.colour}"/></g>'
    )
    shapes = (circles, stripes, rings, peaks)[digits[0] % 4]
    return format_html(
        '<svg class="cover" viewBox="0 12 64 40" preserveAspectRatio="xMidYMid slice" aria-hidden="true" '
        'focusable="false">'
        '<path d="M0 0h64v64H0z" fill="{}"/>{}<text x="5" y="47" class="cover-text">{}</text></svg>',
        dark, mark_safe(shapes), _initials(artist),  # noqa: S308  # numbers and colours only
    )  # fmt: skip


def _initials(artist: str) -> str:
    words = [word for word in artist.split() if word[:1].isalnum() and word.casefold() != "the"]
    return "".join(word[0] for word in words[:2]).upper()
