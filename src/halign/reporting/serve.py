"""``halign report --serve``: a page that follows jobs, from a server that only this machine can reach.

``/`` is the report as it is now; ``/live?have=N&mark=...`` says what is new since version N and that place in the
verdicts, or 204 if nothing is; the page asks every two seconds. Requests under another name than this machine's are refused, so
that no page of somebody else's can read ours through a browser.
"""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from halign.errors import HalignError
from halign.reporting import sources
from halign.reporting.explorer import Mark
from halign.reporting.following import Followed
from halign.reporting.page import growing_parts, render
from halign.reporting.secrets import without_secrets

HOST = "127.0.0.1"
MOST = 2_000
"""Verdicts in one answer; a page that lacks more asks again."""


class LiveReport(ThreadingHTTPServer):
    """Serves the report of folders that are still being written.

    Args:
        port: 0 for any that is free; ``address`` says which.

    Raises:
        HalignError: if the port is taken.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, folders: list[Path], *, port: int = 8765, title: str | None = None) -> None:
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as e:
            raise HalignError(f"port {port} cannot be used ({e}); --port 0 takes one that is free") from None
        self.followed = Followed(sources.followed(folders), title)
        self._one_at_a_time = threading.Lock()
        self._started = time.time_ns()
        self._page: tuple[int, str] = (-1, "")
        self._parts: tuple[int, dict[str, str]] = (-1, {})

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.server_address[1]}/"

    @property
    def _generation(self) -> str:
        """Pages of another one, also of an earlier server's, cannot be added to."""
        return f"{self._started}-{self.followed.generation}"

    def page(self) -> str:
        """The whole report, made anew if there is something new. Raises as ``report``."""
        with self._one_at_a_time:
            f, version = self.followed, self.followed.look()
            if version != self._page[0]:
                self._page = version, render(f.evidence(), f.books, live=self._generation).html
            return self._page[1]

    def news(self, have: int, mark: Mark | None = None) -> dict[str, Any] | None:
        """What changed since version ``have``; None if nothing. Raises as ``report``.

        Args:
            mark: how much of the verdicts the page has; None: it shows none.

        Returns:
            version; generation: pages of another one must be loaded anew; parts: HTML by name (``page.GROWING``); verdicts: as
            ``Table.since``, None if there is no table; more: there are verdicts for another request; waiting: folders not there
            yet; finished: nothing will follow.
        """
        with self._one_at_a_time:
            f = self.followed
            if f.look() == have and (mark is None or f.books is None or mark == f.books.table.mark):
                return None
            if self._parts[0] != f.version:
                self._parts = f.version, growing_parts(f.evidence(), f.books)
            verdicts = f.books.table.since(mark, MOST) if f.books and mark else None
            return {
                "version": f.version,
                "generation": self._generation,
                "parts": self._parts[1],
                "verdicts": verdicts,
                "more": bool(f.books and verdicts and verdicts["mark"] != f.books.table.mark),
                "waiting": f.waiting(),
                "finished": f.finished,
            }


class _Handler(BaseHTTPRequestHandler):
    server: LiveReport
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        port = self.server.server_address[1]
        if self.headers.get("Host") not in {f"{HOST}:{port}", f"localhost:{port}"}:
            self._answer(403, "this report is for this machine only")
        elif asked.path == "/":
            self._try(self._page)
        elif asked.path == "/live":
            self._try(lambda: self._news(parse_qs(asked.query)))
        else:
            self._answer(404, "there is nothing here; the report is at /")

    def _try(self, answer: Any) -> None:
        try:
            answer()
        except HalignError as e:
            self._answer(500, without_secrets(str(e)))

    def _page(self) -> None:
        self._answer(200, self.server.page(), "text/html")

    def _news(self, query: dict[str, list[str]]) -> None:
        have = query.get("have", ["-1"])[0]
        news = self.server.news(int(have) if have.isdecimal() else -1, _mark(query.get("mark", [""])[0]))
        if news is None:
            self._answer(204, "")
        else:
            self._answer(200, without_secrets(json.dumps(news, ensure_ascii=False)), "application/json")

    def _answer(self, status: int, text: str, kind: str = "text/plain") -> None:
        body = text.encode(errors="replace")
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
        for name, value in (("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff")):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a page that asks every two seconds would fill the terminal."""


def _mark(words: str) -> Mark | None:
    """
    >>> _mark("3,2,0,2"), _mark(""), _mark("3,2")
    (Mark(rows=3, items=2, corrected=0, came=2), None, None)
    """
    numbers = words.split(",")
    good = len(numbers) == len(Mark._fields) and all(n.isdecimal() for n in numbers)
    return Mark(*map(int, numbers)) if good else None


def serve(folders: list[Path], *, port: int = 8765, title: str | None = None, ready: Any = print) -> None:
    """Serve until Ctrl-C.

    Args:
        ready: is told the address once requests are answered.

    Raises:
        HalignError: if the port is taken.
    """
    with LiveReport(folders, port=port, title=title) as server:
        try:
            ready(server.address)
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            return
