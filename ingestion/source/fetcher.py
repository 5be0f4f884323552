"""Fetches one page of a list, with retries."""

import logging
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ingestion.source.connection import SourceConnection, SourceResponse
from ingestion.source.errors import (
    AttemptFailed,
    FetchCancelled,
    SourceContractBroken,
    SourceError,
    SourceUnavailable,
    status_text,
    without_secrets,
)
from ingestion.source.response import ENVELOPE_ERROR, PageResponse, parse_page
from ingestion.source.retry import RateLimiter, RetryPolicy, parse_retry_after

logger = logging.getLogger(__name__)

PAGE_SIZE = 100
# A page with fewer rows than its place allows is requested again this often. Then it is accepted, and the
# quality gate compares the totals.
SHORT_PAGE_RETRIES = 2

_ADVICE = {
    401: "; set SOURCE_TOKEN to a token that it accepts",
    403: "; set SOURCE_TOKEN to a token that it accepts",
    404: "; check that BASE_URL is the address of the source",
    422: "; it rejects the page number or the page size",
}


@dataclass
class RequestStats:
    """Counters of one pass over a list, shared by its threads."""

    requests: int = 0
    retries: int = 0
    bytes: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count_request(self) -> None:
        with self._lock:
            self.requests += 1

    def count_bytes(self, length: int) -> None:
        with self._lock:
            self.bytes += length

    def count_failure(self, kind: str) -> None:
        with self._lock:
            self.errors[kind] += 1

    def count_retry(self) -> None:
        with self._lock:
            self.retries += 1


class PageFetcher:
    """Fetches pages of one list; used by several threads at once."""

    def __init__(
        self,
        url: str,
        *,
        policy: RetryPolicy,
        rate_limiter: RateLimiter,
        stop: threading.Event,
        sleep: Callable[[float], None] | None,
    ) -> None:
        """Args:
        url: address of the list; page and size are added.
        stop: set to end all waits.
        sleep: replaces the built-in wait on `stop`.
        """
        self.stats = RequestStats()
        self._prefix = f"{url}{'&' if '?' in url else '?'}page="
        self._policy = policy
        self._rate_limiter = rate_limiter
        self._stop = stop
        self._custom_sleep = sleep

    def fetch_page(self, connection: SourceConnection, number: int) -> PageResponse:
        """Fetch a page, with as many attempts as the policy allows.

        Raises:
            SourceUnavailable: every attempt failed.
            SourceContractBroken: no further attempt would help.
            FetchCancelled: the paginator was closed.
        """
        url = f"{self._prefix}{number}&size={PAGE_SIZE}"
        failures = 0
        while True:
            # The last attempt accepts a short page: it alone must not fail the run.
            retry_if_short = failures < min(SHORT_PAGE_RETRIES, self._policy.attempts - 1)
            try:
                return self._attempt(connection, url, number, retry_if_short=retry_if_short)
            except AttemptFailed as failed:
                failures += 1
                self.stats.count_failure(failed.kind)
                if failures >= self._policy.attempts:
                    raise _final_error(url, failures, failed) from None
                self._back_off(url, failures, failed)

    def _attempt(
        self, connection: SourceConnection, url: str, number: int, *, retry_if_short: bool
    ) -> PageResponse:
        self._rate_limiter.wait_for_turn(self._sleep)
        if self._stop.is_set():
            raise FetchCancelled
        response = connection.get(url, self.stats.count_request)
        self.stats.count_bytes(len(response.body))
        _check_status(url, response)
        answer = parse_page(response.body, response.headers.get("content-type", ""), number)
        if retry_if_short and number < answer.pages and len(answer.rows) < answer.size:
            reason = f"{len(answer.rows)} of {answer.size} rows on page {number} of {answer.pages}"
            raise AttemptFailed("short_page", reason)
        return answer

    def _back_off(self, url: str, failures: int, failed: AttemptFailed) -> None:
        seconds = self._policy.delay(failures)
        if failed.retry_after is not None:
            self._rate_limiter.pause(failed.retry_after)
            # Added to the wait that the source asked for, so that the connections do not all return at once.
            seconds += failed.retry_after
        logger.warning(
            "source_retry url=%s failures=%d kind=%s reason=%r wait_seconds=%.2f",
            without_secrets(url), failures, failed.kind, failed.reason, seconds,
        )  # fmt: skip
        self._sleep(seconds)
        self.stats.count_retry()

    def _sleep(self, seconds: float) -> None:
        if self._custom_sleep is not None:
            self._custom_sleep(seconds)
            stopped = self._stop.is_set()
        else:
            stopped = self._stop.wait(seconds)
        if stopped:
            raise FetchCancelled


def _check_status(url: str, response: SourceResponse) -> None:
    status = response.status
    if 200 <= status < 300:
        return
    reason = f"answered {status_text(status)}"
    if status not in (408, 429) and status < 500:
        raise SourceContractBroken(url, reason + _ADVICE.get(status, ""), f"http_{status}")
    wait = None
    if status in (429, 503):
        wait = parse_retry_after(response.headers.get("retry-after"), datetime.now(UTC))
    raise AttemptFailed(f"http_{status}", reason, retry_after=wait)


def _final_error(url: str, attempts: int, failed: AttemptFailed) -> SourceError:
    if failed.kind == ENVELOPE_ERROR:
        return SourceContractBroken(url, failed.reason, failed.kind)
    return SourceUnavailable(url, attempts, failed.reason, failed.kind)
