"""What can go wrong at a source, by the names that the command line takes."""

import re
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from hashlib import blake2b
from threading import Lock
from typing import Final, NamedTuple


class FaultKind(NamedTuple):
    """One fault: the part of the server that plays it, its rule when only its name is given, what it does."""

    layer: str
    default_rule: str
    description: str


RESPONSE_LAYER, ROW_LAYER, EVENT_LAYER, TOTAL_LAYER = "answer", "rows", "event", "total"
FAULT_KINDS: Final = {
    "429": FaultKind(
        RESPONSE_LAYER, ":0.05", "too many requests, with Retry-After in seconds or as an HTTP date"
    ),
    "500": FaultKind(RESPONSE_LAYER, ":0.05", "internal server error"),
    "slow": FaultKind(RESPONSE_LAYER, ":0.02", "the right answer, late"),
    "hang": FaultKind(RESPONSE_LAYER, ":0.01", "the request is taken and never answered"),
    "drop": FaultKind(RESPONSE_LAYER, ":0.03", "the connection closes in the middle of the body"),
    "truncated": FaultKind(RESPONSE_LAYER, ":0.03", "a complete HTTP answer with half a JSON document"),
    "html": FaultKind(RESPONSE_LAYER, ":0.03", "status 200 with a web page"),
    "redirect": FaultKind(RESPONSE_LAYER, ":1", "302 to another host"),
    "huge": FaultKind(RESPONSE_LAYER, "@1", "a body without end"),
    "badrow": FaultKind(
        ROW_LAYER, ":0.01", "rows with wrong types, missing fields, bad durations, NUL characters"
    ),
    "nulluser": FaultKind(ROW_LAYER, ":0.01", "sessions of nobody: user_id is null"),
    "unknownsong": FaultKind(ROW_LAYER, ":0.01", "sessions that name a song which does not exist"),
    "unknownuser": FaultKind(ROW_LAYER, ":0.01", "sessions of a user who does not exist"),
    "duplicate": FaultKind(ROW_LAYER, ":0.01", "rows sent twice, and counted twice in the total"),
    "shift": FaultKind(
        EVENT_LAYER, "@2", "three rows vanish at the front and three come at the end, the total stays"
    ),
    "reset": FaultKind(EVENT_LAYER, "@0", "a restart: the known ids belong to other songs and users"),
    "lyingtotal": FaultKind(
        TOTAL_LAYER, ":0.1", "a total (and pages) larger than what there is, by this share"
    ),
}
RULE_PATTERN: Final = re.compile(
    r"(?P<name>[a-z0-9]+)(?::(?P<rate>[\d.]+))?(?:@(?P<page>\d+)(?:x(?P<times>\d+))?)?"
)


@dataclass(frozen=True)
class FaultRule:
    """One fault and when it strikes.

    Attributes:
        rate: probability (of an answer, or of a row) or share (of a total), 0 to 1.
        page: only at this page of each resource (for wrong rows: the page of a hundred on which they stand);
            None for all pages. Page 0 is before the first request.
        times: at most so often for each page; None for always, and for an event once.
    """

    name: str
    rate: float = 1.0
    page: int | None = None
    times: int | None = None

    @property
    def is_certain(self) -> bool:
        """Whether it strikes by order and not by chance."""
        return self.page is not None or self.rate >= 1


@dataclass(frozen=True)
class FaultSpec:
    """All rules of one server; empty means a server that works.

    Attributes:
        seed: decides every draw; the same seed gives the same faults.
        slow_seconds: how late a slow answer comes.
        retry_after: seconds that a 429 asks for.
        retry_as: "seconds", "date", or "either", where chance decides.
        redirect_to: where a redirect leads; the path and query are added.
    """

    rules: tuple[FaultRule, ...] = ()
    seed: int = 0
    slow_seconds: float = 2.0
    retry_after: int = 1
    retry_as: str = "either"
    redirect_to: str = "http://elsewhere.invalid"

    def rules_for(self, layer: str) -> tuple[FaultRule, ...]:
        """The rules that one part of the server plays."""
        return tuple(rule for rule in self.rules if FAULT_KINDS[rule.name].layer == layer)


def parse_faults(text: str, *, seed: int = 0) -> FaultSpec:
    """Faults as written on the command line: names with commas between, each with an optional rule.

    `500` has a sensible rate, `500:0.2` this one, `500@3` strikes at page 3 of each resource and
    `429@3x2` at the first two requests for it. `shift@2` happens once, after page 2 was served.

    Raises:
        ValueError: an unknown fault or an unreadable rule; the message lists what there is.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    return FaultSpec(tuple(_parse_rule(word) for word in words), seed=seed)


def describe_faults() -> str:
    """One line for each fault: its name, its rule when none is given, what it does."""
    return "\n".join(
        f"  {name + kind.default_rule:<16} {kind.description}" for name, kind in FAULT_KINDS.items()
    )


def _parse_rule(word: str) -> FaultRule:
    match = RULE_PATTERN.fullmatch(word)
    if match is None or match["name"] not in FAULT_KINDS:
        raise ValueError(
            f"no fault {word!r}; there are (with their usual rate or page):\n{describe_faults()}"
        )
    if match["rate"] is None and match["page"] is None:
        return _parse_rule(word + FAULT_KINDS[word].default_rule)
    # A lie needs a size also where only its page is given; everything else at a page is certain.
    usual = FAULT_KINDS["lyingtotal"].default_rule[1:] if match["name"] == "lyingtotal" else "1"
    try:
        rate = float(match["rate"] or usual)
    except ValueError:
        rate = -1.0
    if not 0 <= rate <= 1:
        raise ValueError(f"the rate in {word!r} is not between 0 and 1")
    numbers = [None if match[name] is None else int(match[name]) for name in ("page", "times")]
    return FaultRule(match["name"], rate, *numbers)


# With five attempts a client gets through troubles that come by chance.
MAX_CONSECUTIVE_FAULTS: Final = 2


def hash_fraction(*parts: Hashable) -> float:
    """A number from 0 to below 1 that depends on the parts alone, in every process."""
    digest = blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


class ResponseFaultSampler:
    """Says for each request which fault answers it, if any.

    A draw depends on the seed, on what is asked and on how often it was asked before, not on the order in
    which a client's threads happen to ask. Chance strikes one page at most twice in a row.
    """

    def __init__(self, faults: FaultSpec) -> None:
        self._seed = faults.seed
        rules = faults.rules_for(RESPONSE_LAYER)
        self._certain = tuple(rule for rule in rules if rule.is_certain)
        self._chance = tuple(rule for rule in rules if not rule.is_certain)
        self._asked: Counter[Hashable] = Counter()
        self._streak: Counter[Hashable] = Counter()
        self._lock = Lock()

    def __bool__(self) -> bool:
        return bool(self._certain or self._chance)

    def draw_fault(self, resource: str, page: int, size: int) -> FaultRule | None:
        """The fault of this request."""
        asked = (resource, page, size)
        with self._lock:
            self._asked[asked] += 1
            turn = self._asked[asked]
            for rule in self._certain:
                ordered = rule.page in {None, page} and (rule.times is None or turn <= rule.times)
                if ordered and hash_fraction(self._seed, rule.name, asked, turn) < rule.rate:
                    return rule
            return self._by_chance(asked, turn)

    def _by_chance(self, asked: tuple[str, int, int], turn: int) -> FaultRule | None:
        luck = hash_fraction(self._seed, asked, turn)
        for rule in self._chance:
            luck -= rule.rate
            if luck < 0 and self._streak[asked] < MAX_CONSECUTIVE_FAULTS:
                self._streak[asked] += 1
                return rule
        self._streak[asked] = 0
        return None
