"""Parses the demo source's faults from the command line, and decides when to inject them."""

import re
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from hashlib import blake2b
from threading import Lock
from typing import Final, NamedTuple


class FaultKind(NamedTuple):
    layer: str
    default_rule: str
    description: str


RESPONSE_LAYER, ROW_LAYER, EVENT_LAYER, TOTAL_LAYER = "answer", "rows", "event", "total"
FAULT_KINDS: Final = {
    "429": FaultKind(
        RESPONSE_LAYER, ":0.05", "too many requests, with Retry-After in seconds or as an HTTP date"
    ),
    "500": FaultKind(RESPONSE_LAYER, ":0.05", "internal server error"),
    "slow": FaultKind(RESPONSE_LAYER, ":0.02", "the correct answer, late"),
    "hang": FaultKind(RESPONSE_LAYER, ":0.01", "the request is accepted and never answered"),
    "drop": FaultKind(RESPONSE_LAYER, ":0.03", "the connection closes in the middle of the body"),
    "truncated": FaultKind(RESPONSE_LAYER, ":0.03", "a complete HTTP answer with half a JSON document"),
    "html": FaultKind(RESPONSE_LAYER, ":0.03", "status 200 with a web page"),
    "redirect": FaultKind(RESPONSE_LAYER, ":1", "302 to another host"),
    "huge": FaultKind(RESPONSE_LAYER, "@1", "an endless body"),
    "badrow": FaultKind(
        ROW_LAYER, ":0.01", "rows with wrong types, missing fields, bad durations, NUL characters"
    ),
    "nulluser": FaultKind(ROW_LAYER, ":0.01", "sessions without a user: user_id is null"),
    "unknownsong": FaultKind(ROW_LAYER, ":0.01", "sessions that name a song which does not exist"),
    "unknownuser": FaultKind(ROW_LAYER, ":0.01", "sessions of a user who does not exist"),
    "duplicate": FaultKind(ROW_LAYER, ":0.01", "rows sent twice and counted twice in the total"),
    "shift": FaultKind(
        EVENT_LAYER, "@2", "three rows vanish at the front and three appear at the end; the total stays"
    ),
    "reset": FaultKind(EVENT_LAYER, "@0", "a restart after which the ids belong to other songs and users"),
    "lyingtotal": FaultKind(TOTAL_LAYER, ":0.1", "a total (and page count) that is too large by this share"),
}
RULE_PATTERN: Final = re.compile(
    r"(?P<name>[a-z0-9]+)(?::(?P<rate>[\d.]+))?(?:@(?P<page>\d+)(?:x(?P<times>\d+))?)?"
)


@dataclass(frozen=True)
class FaultRule:
    name: str
    rate: float = 1.0  # probability per response or row, or share by which a total is too large; 0 to 1
    page: int | None = None  # only on this page of each resource; 0: before the first request
    times: int | None = None  # at most this often per page; None: no limit, but an event happens once

    @property
    def is_certain(self) -> bool:
        return self.page is not None or self.rate >= 1


@dataclass(frozen=True)
class FaultSpec:
    """The fault rules of one server; the same seed gives the same faults."""

    rules: tuple[FaultRule, ...] = ()
    seed: int = 0
    slow_seconds: float = 2.0  # delay of a slow response
    retry_after: int = 1  # seconds in the Retry-After header of a 429
    retry_as: str = "either"  # format of that header: "seconds", "date", or "either" at random
    redirect_to: str = "http://elsewhere.invalid"  # target of a redirect; path and query are appended

    def rules_for(self, layer: str) -> tuple[FaultRule, ...]:
        return tuple(rule for rule in self.rules if FAULT_KINDS[rule.name].layer == layer)


def parse_faults(text: str, *, seed: int = 0) -> FaultSpec:
    """Parse comma-separated faults, each with an optional rule.

    `500` has its default rate, `500:0.2` the rate 0.2, `500@3` applies to page 3 of each resource, and
    `429@3x2` to the first two requests for that page. `shift@2` happens once, after page 2 was served.

    Raises:
        ValueError: an unknown fault or an invalid rule; the message lists the faults.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    return FaultSpec(tuple(_parse_rule(word) for word in words), seed=seed)


def describe_faults() -> str:
    return "\n".join(
        f"  {name + kind.default_rule:<16} {kind.description}" for name, kind in FAULT_KINDS.items()
    )


def _parse_rule(word: str) -> FaultRule:
    match = RULE_PATTERN.fullmatch(word)
    if match is None or match["name"] not in FAULT_KINDS:
        raise ValueError(
            f"unknown fault {word!r}; the faults are (with their default rate or page):\n{describe_faults()}"
        )
    if match["rate"] is None and match["page"] is None:
        return _parse_rule(word + FAULT_KINDS[word].default_rule)
    # A wrong total always needs a share; every other fault with a page is certain.
    default = FAULT_KINDS["lyingtotal"].default_rule[1:] if match["name"] == "lyingtotal" else "1"
    try:
        rate = float(match["rate"] or default)
    except ValueError:
        rate = -1.0
    if not 0 <= rate <= 1:
        raise ValueError(f"the rate in {word!r} is not between 0 and 1")
    numbers = [None if match[name] is None else int(match[name]) for name in ("page", "times")]
    return FaultRule(match["name"], rate, *numbers)


# So few that a client with five attempts always succeeds in spite of random faults.
MAX_CONSECUTIVE_FAULTS: Final = 2


def hash_fraction(*parts: Hashable) -> float:
    """A number in [0, 1), the same for the same arguments in every process."""
    digest = blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


class ResponseFaultSampler:
    """Decides for each request which fault to inject, if any.

    The fault depends on the seed, the page and its number of requests, not on the order of threads. Random
    faults affect a page at most twice in a row.
    """

    def __init__(self, faults: FaultSpec) -> None:
        self._seed = faults.seed
        rules = faults.rules_for(RESPONSE_LAYER)
        self._certain = tuple(rule for rule in rules if rule.is_certain)
        self._chance = tuple(rule for rule in rules if not rule.is_certain)
        self._requests: Counter[Hashable] = Counter()
        self._streak: Counter[Hashable] = Counter()
        self._lock = Lock()

    def __bool__(self) -> bool:
        return bool(self._certain or self._chance)

    def draw_fault(self, resource: str, page: int, size: int) -> FaultRule | None:
        request = (resource, page, size)
        with self._lock:
            self._requests[request] += 1
            turn = self._requests[request]
            for rule in self._certain:
                ordered = rule.page in {None, page} and (rule.times is None or turn <= rule.times)
                if ordered and hash_fraction(self._seed, rule.name, request, turn) < rule.rate:
                    return rule
            return self._draw_random(request, turn)

    def _draw_random(self, request: tuple[str, int, int], turn: int) -> FaultRule | None:
        luck = hash_fraction(self._seed, request, turn)
        for rule in self._chance:
            luck -= rule.rate
            if luck < 0 and self._streak[request] < MAX_CONSECUTIVE_FAULTS:
                self._streak[request] += 1
                return rule
        self._streak[request] = 0
        return None
