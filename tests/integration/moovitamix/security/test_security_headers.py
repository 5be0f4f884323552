"""Policies on every page, HTTPS behind a proxy, and files that only their owner can read."""

import json
import re
from base64 import b64encode
from hashlib import sha256

import pytest
from django.test import Client

from tests.support.project import Project

PAGES = ("/", "/models/", "/listen/", "/admin/", "/admin/auth/user/add/", "/two-factor/", "/api/v1/songs/")
# Not a source and not data, so a browser would run it.
INLINE_SCRIPT = re.compile(
    r"<script(?![^>]*\bsrc=)(?![^>]*type=\"(?:application/json|text/template)\")[^>]*>"
)
OVER_HTTPS = """
import json
from django.test import Client
plain, secure = Client(), Client()
answer = plain.get("/admin/login/", headers={"Host": "localhost"})
page = secure.get("/admin/login/", headers={"Host": "localhost", "X-Forwarded-Proto": "https"})
print(json.dumps([answer.status_code, answer["Location"], page.headers["Strict-Transport-Security"],
                  [bool(cookie["secure"]) for cookie in page.cookies.values()],
                  plain.get("/metrics", headers={"Host": "localhost"}).status_code]))
"""
MAKE_FILES = """
import json, stat
from django.conf import settings
folder = settings.VAR_DIR / "new"
folder.mkdir(parents=True)
(folder / "file").write_text("x")
print(json.dumps([oct(stat.S_IMODE(path.stat().st_mode)) for path in (folder, folder / "file")]))
"""


def test_the_sample_app_may_run_its_own_script_alone() -> None:
    answer = Client().get("/static/clients/player.html")
    page = b"".join(answer).decode()
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = b64encode(sha256(script.encode()).digest()).decode()

    policy = answer["Content-Security-Policy"]
    assert f"script-src 'sha256-{digest}';" in policy
    assert "form-action 'none'" in policy
    assert "connect-src *" in policy


@pytest.mark.django_db
@pytest.mark.parametrize("path", PAGES)
def test_pages_allow_scripts_of_this_site_alone_and_have_none_inside(path: str, admin_client: Client) -> None:
    page = admin_client.get(path, headers={"Accept": "text/html"})

    policy = dict(part.strip().split(" ", 1) for part in page.headers["Content-Security-Policy"].split(";"))
    assert page.status_code == 200
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert "unsafe-inline" not in policy["script-src"]
    assert INLINE_SCRIPT.findall(page.content.decode()) == []
    assert page.headers["Referrer-Policy"] == "same-origin"
    assert page.headers["X-Frame-Options"] == "DENY"
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert "camera=()" in page.headers["Permissions-Policy"]


def test_behind_tls_pages_redirect_and_cookies_are_secure(sqlite_project: Project) -> None:
    said = sqlite_project.manage("shell", "--no-imports", "-c", OVER_HTTPS, HTTPS="true").stdout

    status, location, hsts, secure, metrics = json.loads(said)
    assert (status, location) == (301, "https://localhost/admin/login/")
    assert hsts == f"max-age={180 * 86_400}"
    assert secure == [True]
    # Prometheus may scrape this machine without TLS; without a key it is refused.
    assert metrics in {401, 403}


def test_new_files_are_for_their_owner_alone(sqlite_project: Project) -> None:
    usual = json.loads(sqlite_project.shell(MAKE_FILES))
    (sqlite_project.folder / "var" / "new").rename(sqlite_project.folder / "before")
    group = sqlite_project.manage("shell", "--no-imports", "-c", MAKE_FILES, UMASK="027").stdout

    assert usual == ["0o700", "0o600"]
    assert json.loads(group) == ["0o750", "0o640"]
