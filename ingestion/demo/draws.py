"""Which answer goes wrong: drawn so that every run with the same seed meets the same troubles."""

from collections import Counter
from collections.abc import Hashable
from hashlib import blake2b
from threading import Lock
from typing import Final

from ingestion.demo.faults import ANSWER, Faults, Rule

# With five attempts a client gets through troubles that come by chance.
LONGEST_STREAK: Final = 2


def share_of(*parts: Hashable) -> float:
    """A number from 0 to below 1 that depends on the parts alone, in every process."""
    digest = blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


class AnswerDraws:
    """Says for each request which fault answers it, if any.

    A draw depends on the seed, on what is asked and on how often it was asked before, not on the order in
    which a client's threads happen to ask. Chance strikes one page at most twice in a row.
    """

    def __init__(self, faults: Faults) -> None:
        self._seed = faults.seed
        rules = faults.of(ANSWER)
        self._certain = tuple(rule for rule in rules if rule.certain)
        self._chance = tuple(rule for rule in rules if not rule.certain)
        self._asked: Counter[Hashable] = Counter()
        self._streak: Counter[Hashable] = Counter()
        self._lock = Lock()

    def __bool__(self) -> bool:
        return bool(self._certain or self._chance)

    def next(self, resource: str, page: int, size: int) -> Rule | None:
        """The fault of this request."""
        asked = (resource, page, size)
        with self._lock:
            self._asked[asked] += 1
            turn = self._asked[asked]
            for rule in self._certain:
                ordered = rule.page in {None, page} and (rule.times is None or turn <= rule.times)
                if ordered and share_of(self._seed, rule.name, asked, turn) < rule.rate:
                    return rule
            return self._by_chance(asked, turn)

    def _by_chance(self, asked: tuple[str, int, int], turn: int) -> Rule | None:
        luck = share_of(self._seed, asked, turn)
        for rule in self._chance:
            luck -= rule.rate
            if luck < 0 and self._streak[asked] < LONGEST_STREAK:
                self._streak[asked] += 1
                return rule
        self._streak[asked] = 0
        return None
