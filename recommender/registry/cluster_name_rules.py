"""Applies cluster names set by staff (rename, pin, veto) to every version that has the cluster."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Count, Max

from recommender.engine.clustering.name_words import NameWords, name_key
from recommender.models import Cluster, ClusterNameRule, NameWord


@dataclass(frozen=True)
class NameRules:
    chosen: Mapping[int, str]
    vetoed: Mapping[int, frozenset[str]]  # keys of names; '' stands for every name

    def shown_name(self, number: int, automatic: str) -> str:
        """The name to show for a cluster, given the name from the training; '' for no name."""
        if number in self.chosen:
            return self.chosen[number]
        barred = self.vetoed.get(number, frozenset())
        return "" if "" in barred or name_key(automatic) in barred else automatic


def read_name_rules() -> NameRules:
    chosen: dict[int, str] = {}
    vetoed: dict[int, set[str]] = defaultdict(set)
    for number, rule, name in ClusterNameRule.objects.values_list("number", "rule", "name"):
        if rule == ClusterNameRule.Rule.VETO:
            vetoed[number].add(name_key(name))
        else:
            chosen[number] = name
    return NameRules(chosen, {number: frozenset(names) for number, names in vetoed.items()})


def read_name_words() -> NameWords:
    rows = list(NameWord.objects.values_list("word", "allowed"))
    return NameWords.with_changes(
        blocked=[word for word, allowed in rows if not allowed],
        allowed=[word for word, allowed in rows if allowed],
    )


@transaction.atomic
def apply_name_rules(number: int) -> None:
    """Write a cluster's name, as the rules give it, into all versions that have the cluster."""
    rules = read_name_rules()
    rows = list(Cluster.objects.filter(number=number))
    for row in rows:
        automatic = row.automatic_name
        row.facts = {**row.facts, "automatic_name": automatic}
        row.name = rules.shown_name(number, automatic)
    Cluster.objects.bulk_update(rows, ["name", "facts"])


def naming_state() -> str:
    """A string that changes whenever staff change a name."""
    found = ClusterNameRule.objects.aggregate(n=Count("pk"), at=Max("changed_at"))
    return f"{found['n']}.{found['at']}"
