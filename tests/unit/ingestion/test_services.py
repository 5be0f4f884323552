"""Which proxy is used for the source."""

import pytest

from ingestion.services import proxy_for

PROXY = "http://proxy.internal:3128"


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("http://source.internal/api", PROXY),
        ("https://source.internal", "http://secure.internal:3128"),
        ("http://excluded.internal", ""),
        ("http://api.example.org:8001", ""),
        ("http://127.0.0.1:8001", ""),
        ("http://localhost:8001", ""),
        ("http://[::1]:8001", ""),
    ],
)
def test_proxy_variables_are_obeyed(url: str, proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("HTTP_PROXY", PROXY)
    monkeypatch.setenv("HTTPS_PROXY", "http://secure.internal:3128")
    monkeypatch.setenv("NO_PROXY", "excluded.internal,.example.org")

    assert proxy_for(url) == proxy


def test_without_proxy_variables_the_connection_is_direct(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)

    assert proxy_for("http://source.internal") == ""
