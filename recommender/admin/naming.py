"""Admin of genre aliases, and of words and rules of cluster names."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _lazy
from unfold.admin import ModelAdmin

from ingestion.admin import ROWS_PER_PAGE, ListedLookups
from recommender.models import ClusterNameRule, GenreAlias, NameWord
from recommender.registry.cluster_name_rules import apply_name_rules


@admin.register(GenreAlias)
class GenreAliasAdmin(ListedLookups, ModelAdmin):
    list_display = ("alias", "genre")
    search_fields = ("alias", "genre")
    when_empty = _lazy(
        "Add an alias if the source has two names for one genre: “electronic dance music” for “EDM”."
    )
    list_per_page = ROWS_PER_PAGE
    fields = ("alias", "genre")


@admin.register(NameWord)
class NameWordAdmin(ListedLookups, ModelAdmin):
    """Admin of the word list; a blocked word leaves automatic names at once, and reasons within a minute."""

    list_display = ("word", "allowed")
    list_filter = ("allowed",)
    search_fields = ("word",)
    when_empty = _lazy(
        "A list is built in. Add a word to keep it out of the names of clusters and out of reasons, or to "
        "allow one that the list keeps out."
    )
    list_per_page = ROWS_PER_PAGE
    fields = ("word", "allowed")

    def save_model(self, request: HttpRequest, obj: NameWord, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        apply_name_rules()

    def delete_model(self, request: HttpRequest, obj: NameWord) -> None:
        super().delete_model(request, obj)
        apply_name_rules()

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[NameWord]) -> None:
        super().delete_queryset(request, queryset)
        apply_name_rules()


@admin.register(ClusterNameRule)
class ClusterNameRuleAdmin(ListedLookups, ModelAdmin):
    """Admin of cluster names; a change takes effect at once, in every version that has the cluster."""

    list_display = ("number", "rule", "name", "changed_at")
    list_filter = ("rule",)
    search_fields = ("=number", "name")
    when_empty = _lazy(
        "Clusters are named by their genres, moods and artists. Add a rule to show another name, or to never "
        "show one again."
    )
    list_per_page = ROWS_PER_PAGE
    fields = ("number", "rule", "name")

    def save_model(self, request: HttpRequest, obj: ClusterNameRule, form: Any, change: bool) -> None:
        before = form.initial.get("number")
        super().save_model(request, obj, form, change)
        apply_name_rules({obj.number, before or obj.number})

    def delete_model(self, request: HttpRequest, obj: ClusterNameRule) -> None:
        super().delete_model(request, obj)
        apply_name_rules({obj.number})

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ClusterNameRule]) -> None:
        numbers = set(queryset.values_list("number", flat=True))
        super().delete_queryset(request, queryset)
        apply_name_rules(numbers)
