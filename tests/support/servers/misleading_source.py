"""A source with lists that the test sets, and a function that replaces some of its responses."""

from collections.abc import Callable

from tests.support.servers.list_source import ListSource
from tests.support.servers.scripted_server import Reply, Request, page_reply

Answer = Callable[[Request], Reply | None]


class MisleadingSource(ListSource):
    """The script of a `ScriptedServer`, which serves three lists.

    Attributes:
        size: rows a page.
        mislead: a function for the path of a list; if it returns None, the true page is sent.
    """

    def __init__(self, size: int = 10) -> None:
        super().__init__()
        self.size = size
        self.mislead: dict[str, Answer] = {}

    def __call__(self, request: Request) -> Reply:
        misleading = self.mislead.get(request.path)
        reply = misleading(request) if misleading else None
        return reply or page_reply(self.rows(request), request.page, size=self.size)

    def rows(self, request: Request) -> list[dict[str, object]]:
        return {"/tracks": self.tracks, "/users": self.users, "/listen_history": self.sessions}[request.path]
