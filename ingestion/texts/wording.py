"""What a kind of incident is told with: sentences with the names of facts in braces.

A sentence that names a fact nobody gave is left out, so the first of each part names none. Of several
subjects the first whose facts are all there is taken. `{part1}` is what stands after a key's first colon,
`{part2}` what stands after its second. How a fact is shown follows from its name: see `phrases`.
The French stands in locale/fr/LC_MESSAGES/django.po.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Wording:
    """The sentences of one kind, most important first."""

    subject: tuple[str, ...]
    what: tuple[str, ...]
    how_bad: tuple[str, ...]
    what_to_do: tuple[str, ...]
