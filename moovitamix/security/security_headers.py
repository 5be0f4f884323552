"""Content security and permission policies of all pages."""

from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Final
from wsgiref.headers import Headers

from django.http import HttpRequest, HttpResponse

# No page has inline scripts, so none is allowed, not even one with a nonce. Alpine and htmx, which Unfold
# uses, compile their attributes with `eval`; widths of bars are inline styles.
PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; connect-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
# The sample app's script stands in its file, and may call an API elsewhere. A form that the script did not
# stop would put the token into an address.
SAMPLE_APP_POLICY: Final = (
    "default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; connect-src *; "
    "media-src *; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)
SAMPLE_APP: Final = "clients/player.html"
PERMISSIONS_POLICY: Final = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"


def security_headers_middleware(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[..., HttpResponse]:
    """Add the policies; a view may set a stricter one of its own."""

    def respond(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response.headers.setdefault("Content-Security-Policy", PAGE_POLICY)
        response.headers.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
        return response

    return respond


def add_static_headers(headers: Headers, path: str, url: str) -> None:
    """Give the sample app a policy of its own, for WhiteNoise, which serves static files."""
    if url.endswith(SAMPLE_APP):
        script = Path(path).read_text().partition("<script>")[2].partition("</script>")[0]
        digest = b64encode(sha256(script.encode()).digest()).decode()
        headers["Content-Security-Policy"] = SAMPLE_APP_POLICY.format(digest=digest)
