"""A small package index over real HTTP: JSON or HTML pages, files with or without ranges, conditional."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def wheel(members: Mapping[str, str]) -> bytes:
    """Build a wheel that holds these files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def sdist(root: str, members: Mapping[str, str]) -> bytes:
    """Build a source archive that holds these files under one folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in members.items():
            info = tarfile.TarInfo(f"{root}/{name}")
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()


@dataclass
class Index:
    """One index: add files, then read it at `url`. `paths` logs what was asked for."""

    url: str = ""
    ranges: bool = True
    html: bool = False
    conditional: bool = True
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    bodies: dict[str, bytes] = field(default_factory=dict)
    paths: list[str] = field(default_factory=list)

    def add(self, project: str, name: str, body: bytes, uploaded: str, **more: Any) -> None:
        """Publish a file; `yanked` and `size` may be given."""
        self.bodies[name] = body
        entry = {
            "filename": name,
            "url": f"../../files/{name}",
            "hashes": {"sha256": hashlib.sha256(body).hexdigest()},
            "size": more.get("size", len(body)),
            "upload-time": f"{uploaded}T12:00:00.000000Z",
            "yanked": more.get("yanked", False),
        }
        self.files.setdefault(project, {})[name] = entry

    def page(self, project: str) -> tuple[bytes, str]:
        """Print a project's page."""
        files = list(self.files[project].values())
        if self.html:
            links = "".join(f'<a href="{f["url"]}">{f["filename"]}</a>' for f in files)
            return f"<!doctype html><html><body>{links}</body></html>".encode(), "text/html"
        body = {"meta": {"api-version": "1.1"}, "name": project, "files": files}
        return json.dumps(body).encode(), "application/vnd.pypi.simple.v1+json"


@contextmanager
def running() -> Iterator[Index]:
    """Serve an empty index on a free port."""
    index = Index()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"index": index}))
    server.daemon_threads = False  # so that closing it waits for the last connection
    threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
    ).start()
    index.url = f"http://127.0.0.1:{server.server_port}/simple/"
    try:
        yield index
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    index: Index
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self.index.paths.append(self.path)
        parts = self.path.strip("/").split("/")
        if parts[0] == "simple" and parts[1] in self.index.files:
            self._page(parts[1])
        elif parts[0] == "files" and parts[1] in self.index.bodies:
            self._file(self.index.bodies[parts[1]])
        else:
            self._send(404, b"not here", {})

    def _page(self, project: str) -> None:
        body, kind = self.index.page(project)
        tag = f'"{hashlib.sha256(body).hexdigest()}"'
        headers = {"Content-Type": kind}
        if self.index.conditional:
            headers["ETag"] = tag
            if self.headers.get("If-None-Match") == tag:
                self._send(304, b"", headers)
                return
        self._send(200, body, headers)

    def _file(self, body: bytes) -> None:
        wanted = self.headers.get("Range")
        if not wanted or not self.index.ranges:
            self._send(200, body, {})
            return
        first, last = wanted.removeprefix("bytes=").split("-")
        part = body[int(first) : int(last) + 1]
        span = f"bytes {first}-{int(first) + len(part) - 1}/{len(body)}"
        self._send(206, part, {"Content-Range": span})

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
