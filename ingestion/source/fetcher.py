"""One page, however many attempts it takes."""

import logging
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ingestion.source.connection import Line, Response
from ingestion.source.errors import (
    AttemptFailed,
    SourceContractBroken,
    SourceError,
    SourceUnavailable,
    Stopped,
    phrase,
    without_secrets,
)
from ingestion.source.response import ENVELOPE, Answer, open_answer
from ingestion.source.retry import Pacer, RetryPolicy, parse_retry_after

logger = logging.getLogger(__name__)

PAGE_SIZE = 100
# A page too short for its place is asked again so often; then the totals must tell.
SHORT_PAGE_RETRIES = 2

_ADVICE = {
    401: "; set SOURCE_TOKEN to a token that it accepts",
    403: "; set SOURCE_TOKEN to a token that it accepts",
    404: "; does BASE_URL lead to the source?",
    422: "; it refuses the page or the size asked for",
}


@dataclass
class Tally:
    """What a reading cost, counted by all its threads."""

    requests: int = 0
    retries: int = 0
    bytes: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def asked(self) -> None:
        with self._lock:
            self.requests += 1

    def answered(self, length: int) -> None:
        with self._lock:
            self.bytes += length

    def failed(self, kind: str) -> None:
        with self._lock:
            self.errors[kind] += 1

    def retried(self) -> None:
        with self._lock:
            self.retries += 1


class Fetcher:
    """Gets the pages of one list; its threads share the tally, the pacer and the stop."""

    def __init__(
        self,
        url: str,
        *,
        policy: RetryPolicy,
        pacer: Pacer,
        stop: threading.Event,
        sleep: Callable[[float], None] | None,
    ) -> None:
        """Args:
        url: of the list; page and size are added.
        sleep: instead of a wait that the stop ends at once.
        """
        self.tally = Tally()
        self._prefix = f"{url}{'&' if '?' in url else '?'}page="
        self._policy = policy
        self._pacer = pacer
        self._stop = stop
        self._own_sleep = sleep

    def page(self, line: Line, number: int) -> Answer:
        """The page, after as many attempts as the policy allows.

        Raises:
            SourceUnavailable: the last attempt failed, too.
            SourceContractBroken: no further attempt would help.
            Stopped: the reading was closed.
        """
        url = f"{self._prefix}{number}&size={PAGE_SIZE}"
        failures = 0
        while True:
            # Patience with a short page ends before the attempts do: it stands, it is no failure.
            patient = failures < min(SHORT_PAGE_RETRIES, self._policy.attempts - 1)
            try:
                return self._attempt(line, url, number, patient=patient)
            except AttemptFailed as failed:
                failures += 1
                self.tally.failed(failed.kind)
                if failures >= self._policy.attempts:
                    raise _given_up(url, failures, failed) from None
                self._back_off(url, failures, failed)

    def _attempt(self, line: Line, url: str, number: int, *, patient: bool) -> Answer:
        self._pacer.wait_for_turn(self._sleep)
        if self._stop.is_set():
            raise Stopped
        response = line.get(url, self.tally.asked)
        self.tally.answered(len(response.body))
        _check_status(url, response)
        answer = open_answer(response.body, response.headers.get("content-type", ""), number)
        if patient and number < answer.pages and len(answer.rows) < answer.size:
            reason = f"{len(answer.rows)} of {answer.size} rows on page {number} of {answer.pages}"
            raise AttemptFailed("short_page", reason)
        return answer

    def _back_off(self, url: str, failures: int, failed: AttemptFailed) -> None:
        seconds = self._policy.delay(failures)
        if failed.retry_after is not None:
            self._pacer.pause(failed.retry_after)
            # On top of what was asked for, so that the connections do not all return at once.
            seconds += failed.retry_after
        logger.warning(
            "source_retry url=%s failures=%d kind=%s reason=%r wait_seconds=%.2f",
            without_secrets(url), failures, failed.kind, failed.reason, seconds,
        )  # fmt: skip
        self._sleep(seconds)
        self.tally.retried()

    def _sleep(self, seconds: float) -> None:
        if self._own_sleep is not None:
            self._own_sleep(seconds)
            stopped = self._stop.is_set()
        else:
            stopped = self._stop.wait(seconds)
        if stopped:
            raise Stopped


def _check_status(url: str, response: Response) -> None:
    status = response.status
    if 200 <= status < 300:
        return
    reason = f"answered {phrase(status)}"
    if status not in (408, 429) and status < 500:
        raise SourceContractBroken(url, reason + _ADVICE.get(status, ""), f"http_{status}")
    wait = None
    if status in (429, 503):
        wait = parse_retry_after(response.headers.get("retry-after"), datetime.now(UTC))
    raise AttemptFailed(f"http_{status}", reason, retry_after=wait)


def _given_up(url: str, attempts: int, failed: AttemptFailed) -> SourceError:
    if failed.kind == ENVELOPE:
        return SourceContractBroken(url, failed.reason, failed.kind)
    return SourceUnavailable(url, attempts, failed.reason, failed.kind)
