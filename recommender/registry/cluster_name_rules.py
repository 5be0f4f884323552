"""Applies names and blocked words set by staff to the clusters of every version."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from django.db import transaction
from django.db.models import Count, Max

from recommender.engine.identity.name_words import NameWords, name_key
from recommender.models import Cluster, ClusterNameRule, ModelVersion, NameWord, sql
from recommender.models.naming import read_name_words


@dataclass(frozen=True)
class NameRules:
    chosen: Mapping[int, str]
    vetoed: Mapping[int, frozenset[str]]  # keys of names; '' stands for every name
    words: NameWords

    def shown_name(self, number: int, automatic: str) -> str:
        """The name to show for a cluster, given the name from the training; '' for no name."""
        if number in self.chosen:
            return self.chosen[number]
        barred = self.vetoed.get(number, frozenset())
        is_barred = "" in barred or name_key(automatic) in barred or self.words.bars_name(automatic)
        return "" if is_barred else automatic


def read_name_rules() -> NameRules:
    chosen: dict[int, str] = {}
    vetoed: dict[int, set[str]] = defaultdict(set)
    for number, rule, name in ClusterNameRule.objects.values_list("number", "rule", "name"):
        if rule == ClusterNameRule.Rule.VETO:
            vetoed[number].add(name_key(name))
        else:
            chosen[number] = name
    keys = {number: frozenset(names) for number, names in vetoed.items()}
    return NameRules(chosen, keys, read_name_words())


@transaction.atomic
def apply_name_rules(numbers: Collection[int] | None = None, *, version: ModelVersion | None = None) -> None:
    """Write the names that the rules give these clusters (None: all) into this version (None: all).

    The caller must have written its rules or clusters in the same transaction, or have committed them.
    """
    # Otherwise staff who block a word and a training that stores clusters would not see each other's rows.
    sql.lock_names()
    rules = read_name_rules()
    rows = Cluster.objects.all() if numbers is None else Cluster.objects.filter(number__in=numbers)
    changed = []
    for row in (rows if version is None else rows.filter(version=version)).iterator():
        automatic = row.automatic_name
        name, facts = rules.shown_name(row.number, automatic), _name_family(row.facts, rules.words)
        # A name that staff chose is trusted because the automatic one is recorded beside it.
        if name != row.name or (row.number in rules.chosen and "automatic_name" not in facts):
            facts = {**facts, "automatic_name": automatic}
        if name != row.name or facts != row.facts:
            row.name, row.facts = name, facts
            changed.append(row)
    Cluster.objects.bulk_update(changed, ["name", "facts"], batch_size=500)


def _name_family(facts: dict[str, Any], words: NameWords) -> dict[str, Any]:
    """The facts with the family's name from the training, or its id if the name has a blocked word."""
    family = facts.get("family", {})
    automatic = family.get("automatic_name", family.get("name", ""))
    name = unnamed_family(family["id"]) if words.bars_name(automatic) else automatic
    if name == family.get("name", ""):
        return facts
    return {**facts, "family": {**family, "name": name, "automatic_name": automatic}}


def unnamed_family(number: int) -> str:
    """The name of a family that nothing tells apart, or whose name has a blocked word."""
    return f"Style {number}"


def naming_state() -> str:
    """A string that changes whenever staff change a name or the word list."""
    found = ClusterNameRule.objects.aggregate(n=Count("pk"), at=Max("changed_at"))
    words = NameWord.objects.order_by("key").values_list("key", "allowed")
    digest = blake2b(repr(list(words)).encode(), digest_size=8).hexdigest()
    return f"{found['n']}.{found['at']}.{digest}"
