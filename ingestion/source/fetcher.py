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
from ingestion.source.retry import ConnectionLimit, Patience, RateLimiter, RetryPolicy, parse_retry_after

logger = logging.getLogger(__name__)

# Retries after a status that a retry rarely changes, such as 403.
ODD_STATUS_RETRIES = 2
# Retries after a response without a valid envelope: a proxy may have damaged it, but waiting does not help.
MAX_ENVELOPE_ERRORS = 5
# Attempts for a page when no patience is left, because this list may be readable though another was not.
MIN_ATTEMPTS = 3
# Retries of a page that is not full though it is not the last. After them the page is accepted, and the
# quality gate compares the totals.
SHORT_PAGE_RETRIES = 2
# Retries of a page past the reported end that is answered with an error other than 404.
PAST_END_RETRIES = 2
# After this many short pages, short pages count as normal for the list and are not requested again.
MAX_RETRIED_SHORT_PAGES = 5
# After this many pages that do not exist, the list counts as shorter than reported.
MAX_RETRIED_MISSING_PAGES = 5
END_OF_LIST = 404
EMPTY_PAGE_BODY = b'{"items":[]}'

_ADVICE = {
    401: "; set SOURCE_TOKEN to a token that it accepts",
    403: "; set SOURCE_TOKEN to a token that it accepts",
    404: "; check that BASE_URL is the address of the source",
    422: "; it rejects the page number or the page size",
}


@dataclass
class RequestStats:
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


@dataclass
class _PageFailures:
    counted: int = 0
    odd: int = 0
    short: int = 0
    envelope: int = 0
    limited: int = 0
    began: float = 0.0
    waited: float = 0.0
    answers: int = 0

    @property
    def total(self) -> int:
        return self.counted + self.limited


class PageFetcher:
    """Fetches pages of one list; several threads may use it at once."""

    def __init__(
        self,
        url: str,
        *,
        page_size: int,
        policy: RetryPolicy,
        patience: Patience,
        rate_limiter: RateLimiter,
        connection_limit: ConnectionLimit,
        stop: threading.Event,
        sleep: Callable[[float], None] | None,
        clock: Callable[[], float],
    ) -> None:
        """Prepare the fetcher; nothing is sent yet.

        Args:
            url: address of the list; page and size are added.
            page_size: rows to request on each page.
            stop: set to end all waits.
            sleep: replaces the built-in wait on `stop`.
        """
        self.stats = RequestStats()
        self.connection_limit = connection_limit
        self._prefix = f"{url}{'&' if '?' in url else '?'}page="
        self._suffix = f"&size={page_size}"
        self._policy = policy
        self._patience = patience
        self._rate_limiter = rate_limiter
        self._stop = stop
        self._custom_sleep = sleep
        self._clock = clock
        self._latest: PageResponse | None = None
        self._short_pages = 0
        self._missing_pages = 0

    def fetch_page(self, connection: SourceConnection, number: int) -> PageResponse:
        """Fetch a page, with retries; a page past the end is empty, also if the source answers 404.

        Raises:
            SourceUnavailable: the source did not send this page in time.
            SourceContractBroken: no further attempt would help.
            FetchCancelled: the paginator was closed.
        """
        url = f"{self._prefix}{number}{self._suffix}"
        failures = _PageFailures()
        while True:
            try:
                answer = self._attempt(connection, url, number, failures)
            except AttemptFailed as failed:
                self.stats.count_failure(failed.kind)
                latest = self._latest
                if latest is not None and self._is_past_end(number, latest, failures, failed):
                    return _empty_page(number, latest)
                self._count(failures, failed)
                patience_left = self._patience.seconds_left - self._outage(failures)
                if self._gives_up(failures, patience_left):
                    if failed.status == END_OF_LIST and number > 1 and latest is not None:
                        self._missing_pages += 1
                        return _empty_page(number, latest)
                    self._patience.spend(self._outage(failures))
                    raise self._final_error(url, failures, failed) from None
                self._back_off(url, failures, failed, patience_left)
            else:
                self._latest = answer
                self._patience.count_answer()
                self.connection_limit.increase()
                return answer

    def _attempt(
        self, connection: SourceConnection, url: str, number: int, failures: _PageFailures
    ) -> PageResponse:
        self._rate_limiter.wait_for_turn(self._sleep)
        if self._stop.is_set():
            raise FetchCancelled
        response = connection.get(url, self.stats.count_request)
        self.stats.count_bytes(len(response.body))
        _check_status(response)
        answer = parse_page(response.body, response.headers.get("content-type", ""), number)
        if number < answer.pages and len(answer.rows) < answer.size:
            if self._retries_short_page(failures):
                reason = f"{len(answer.rows)} of {answer.size} rows on page {number} of {answer.pages}"
                raise AttemptFailed("short_page", reason)
            self._short_pages += 1
        return answer

    def _is_past_end(
        self, number: int, latest: PageResponse, failures: _PageFailures, failed: AttemptFailed
    ) -> bool:
        if failed.status == END_OF_LIST and self._missing_pages >= MAX_RETRIED_MISSING_PAGES:
            return number > 1
        # The source itself has reported fewer pages. After an error the page is requested again, because rows
        # behind a total that is too low would be lost.
        is_final = failed.status == END_OF_LIST or failures.counted >= self._past_end_retries()
        return number > latest.pages and failed.kind != "http_429" and is_final

    def _past_end_retries(self) -> int:
        return min(PAST_END_RETRIES, (self._policy.attempts or PAST_END_RETRIES + 1) - 1)

    def _retries_short_page(self, failures: _PageFailures) -> bool:
        # The last attempt accepts a short page, because a short page alone must not fail the run.
        limit = min(SHORT_PAGE_RETRIES, (self._policy.attempts or SHORT_PAGE_RETRIES + 1) - 1)
        return failures.counted < limit and self._short_pages < MAX_RETRIED_SHORT_PAGES

    def _count(self, failures: _PageFailures, failed: AttemptFailed) -> None:
        answers = self._patience.answers
        is_limited = failed.kind == "http_429"
        if not failures.total or (is_limited and failures.answers != answers):
            # If other pages were answered meanwhile, the rate limit is not an outage.
            failures.began, failures.waited, failures.answers = self._clock(), 0.0, answers
        if is_limited:
            failures.limited += 1
            self.connection_limit.decrease()
        else:
            failures.counted += 1
        failures.odd += failed.is_odd
        failures.envelope += failed.kind == ENVELOPE_ERROR

    def _outage(self, failures: _PageFailures) -> float:
        return max(failures.waited, self._clock() - failures.began)

    def _wait_seconds(self, failures: _PageFailures, failed: AttemptFailed) -> float:
        if failed.retry_after is None:
            return self._policy.delay(failures.total)
        # Added to the wait that the source asked for, so that the connections do not all return at once.
        limited = failed.kind == "http_429"
        return failed.retry_after + self._policy.delay(1 if limited else failures.total)

    def _gives_up(self, failures: _PageFailures, patience_left: float) -> bool:
        attempts = self._policy.attempts
        if attempts is not None and failures.counted >= attempts:
            return True
        if failures.odd > ODD_STATUS_RETRIES or failures.envelope >= MAX_ENVELOPE_ERRORS:
            return True
        return patience_left <= 0 and failures.total >= MIN_ATTEMPTS

    def _back_off(
        self, url: str, failures: _PageFailures, failed: AttemptFailed, patience_left: float
    ) -> None:
        seconds = self._wait_seconds(failures, failed)
        if patience_left > 0:
            # The last attempt should come when the patience ends, not up to 30 seconds before.
            seconds = min(seconds, patience_left)
        if failed.retry_after is not None:
            self._rate_limiter.pause(failed.retry_after)
        logger.warning(
            "source_retry url=%s failures=%d kind=%s reason=%r wait_seconds=%.2f",
            without_secrets(url), failures.total, failed.kind, failed.reason, seconds,
        )  # fmt: skip
        failures.waited += seconds
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

    def _final_error(self, url: str, failures: _PageFailures, failed: AttemptFailed) -> SourceError:
        if failed.kind == ENVELOPE_ERROR:
            return SourceContractBroken(url, failed.reason, failed.kind)
        if failed.is_odd:
            # If other pages are answered, the advice about a wrong address or token would mislead.
            others = f" {failures.odd} times while it answered other pages"
            advice = others if self._patience.answers else _ADVICE.get(failed.status, "")
            return SourceContractBroken(url, failed.reason + advice, failed.kind)
        return SourceUnavailable(url, failures.total, failed.reason, failed.kind)


def _empty_page(number: int, latest: PageResponse) -> PageResponse:
    return PageResponse(number, [], latest.total, latest.size, latest.pages, EMPTY_PAGE_BODY)


def _check_status(response: SourceResponse) -> None:
    status = response.status
    if 200 <= status < 300:
        return
    wait = None
    if status in (429, 503):
        wait = parse_retry_after(response.headers.get("retry-after"), datetime.now(UTC))
    is_odd = status not in (408, 429) and status < 500
    raise AttemptFailed(
        f"http_{status}", f"answered {status_text(status)}", retry_after=wait, status=status, is_odd=is_odd
    )
