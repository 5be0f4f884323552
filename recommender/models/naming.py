"""Names set by staff: genre aliases, words in cluster names, cluster names."""

import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Final

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext as _

from recommender.engine.identity.genres import GenreNames
from recommender.engine.identity.name_words import NameWords
from recommender.engine.identity.text import fold_key

KNOWN_NAMES_SECONDS: Final = 60.0


class FoldedNameModel(models.Model):
    """Base of models whose text is unique in any spelling."""

    folded_field: ClassVar[str]
    key = models.CharField(max_length=100, unique=True, editable=False)

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.key = fold_key(getattr(self, self.folded_field))
        super().save(*args, **kwargs)

    def clean(self) -> None:
        self.key = fold_key(getattr(self, self.folded_field))
        others = type(self)._default_manager.filter(key=self.key).exclude(pk=self.pk)
        if others.exists():
            raise ValidationError({self.folded_field: "There is an entry for this name in another spelling."})


class GenreAlias(FoldedNameModel):
    """Another name of a genre. Lists use it at once, models from their next training on."""

    folded_field = "alias"
    alias = models.CharField(
        max_length=100, help_text="The source's name, in any spelling, such as “electronic dance music”."
    )
    genre = models.CharField(max_length=100, help_text="The genre that it means, such as “EDM”.")

    class Meta:
        verbose_name = "genre alias"
        verbose_name_plural = "genre aliases"
        ordering: ClassVar = ["genre", "alias"]
        constraints: ClassVar = [
            models.CheckConstraint(name="genre_alias_names_two", condition=~Q(key="") & ~Q(genre=""))
        ]

    def __str__(self) -> str:
        return f"{self.alias} = {self.genre}"


class NameWord(FoldedNameModel):
    """A word that names and reasons must not contain, or may contain in spite of the built-in list.

    A blocked word leaves automatic names of clusters and styles at once, and reasons within a minute; names
    that staff chose keep it. An allowed word gets into names with the next full retrain.
    """

    folded_field = "word"
    word = models.CharField(
        "word or genre",
        max_length=100,
        help_text="Such as “seen live”; in any spelling. It leaves automatic names at once and reasons "
        "within a minute; names that staff chose keep it.",
    )
    allowed = models.BooleanField(
        default=False,
        help_text="Allow it although the built-in list keeps it out: in reasons within a minute, in names "
        "from the next full retrain on.",
    )

    class Meta:
        verbose_name = "word in cluster names"
        verbose_name_plural = "words in cluster names"
        ordering: ClassVar = ["word"]
        constraints: ClassVar = [models.CheckConstraint(name="name_word_is_not_empty", condition=~Q(key=""))]

    def __str__(self) -> str:
        return f"{self.word}: {_('allowed') if self.allowed else _('not allowed')}"


class ClusterNameRule(models.Model):
    """A name that staff set for a cluster, in all versions that have the cluster."""

    class Rule(models.TextChoices):
        RENAME = "rename", "rename: show this name"
        PIN = "pin", "pin: keep this name in later versions"
        VETO = "veto", "veto: never show this name"

    number = models.PositiveIntegerField("cluster ID", help_text="A cluster that persists keeps its ID.")
    rule = models.CharField(max_length=6, choices=Rule.choices)
    name = models.CharField(
        max_length=40, blank=True, help_text="At most 40 characters. Empty for a veto: show no name at all."
    )
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name = "cluster name"
        ordering: ClassVar = ["number", "rule"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["number"], name="cluster_name_chosen_once", condition=~Q(rule="veto"),
                violation_error_message="This cluster has a name by staff already.",
            ),
            models.UniqueConstraint(fields=["number", "rule", "name"], name="cluster_name_vetoed_once"),
            models.CheckConstraint(
                name="cluster_name_is_given", condition=Q(rule="veto") | ~Q(name=""),
                violation_error_message="Enter the name to show.",
            ),
        ]  # fmt: skip

    def __str__(self) -> str:
        return _("Cluster {number}: {name}").format(
            number=self.number, name=self.name or self.get_rule_display()
        )


def read_genre_names() -> GenreNames:
    return _genre_names(tuple(GenreAlias.objects.order_by("pk").values_list("alias", "genre")))


@lru_cache(maxsize=2)
def _genre_names(aliases: tuple[tuple[str, str], ...]) -> GenreNames:
    # One object as long as the aliases are the same, because it keeps the texts that it has normalised.
    return GenreNames(dict(aliases))


def read_name_words() -> NameWords:
    rows = list(NameWord.objects.values_list("word", "allowed"))
    return NameWords.with_changes(
        blocked=[word for word, allowed in rows if not allowed],
        allowed=[word for word, allowed in rows if allowed],
    )


@dataclass(frozen=True)
class KnownNames:
    genres: GenreNames
    words: NameWords
    chosen: frozenset[str]  # names of clusters that staff chose
    until: float  # monotonic time at which staff's changes are read again


def known_names() -> KnownNames:
    """What staff set, for the reasons in lists and the names on pages; cached for a minute."""
    now = time.monotonic()
    if _cache.known is None or now >= _cache.known.until:
        chosen = ClusterNameRule.objects.exclude(rule=ClusterNameRule.Rule.VETO)
        _cache.known = KnownNames(
            read_genre_names(), read_name_words(), frozenset(chosen.values_list("name", flat=True)),
            now + KNOWN_NAMES_SECONDS,
        )  # fmt: skip
    return _cache.known


@dataclass
class _Cache:
    known: KnownNames | None = None


_cache = _Cache()
