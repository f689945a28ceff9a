"""A web server that imitates the hub and its storage, with faults to inject.

    with HubServer() as server:
        server.put("a.mp4", content)                         at server.url + "/a.mp4"
        commit = server.dataset("owner/name", {"x.zip": content})
            server.spoil("/a.mp4", Stall(after=100))             the next answer about that path
        server.models["owner/name"]                          the files of a model repository, once it is made

Files of datasets are answered, as the hub does, by leading to a second host, which has another port here. A
client can make a model repository and commit to it; large files go to that second host (LFS).
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Literal
from urllib.parse import parse_qs, unquote, urlsplit

PIECE = 1 << 16


@dataclass(frozen=True)
class Status:
    """A response with only this status."""

    code: int
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Break:
    """The connection ends after that many bytes of the response."""

    after: int


@dataclass(frozen=True)
class Stall:
    """The connection stays open, but sends nothing after that many bytes."""

    after: int
    seconds: float = 30.0


@dataclass(frozen=True)
class Trickle:
    """The connection never ends: `piece` every `pause` seconds, before the headers, among them or after."""

    where: Literal["continue", "headers", "body"]
    pause: float = 0.05
    piece: bytes = b"x"


@dataclass(frozen=True)
class Page:
    """A web page with status 200 instead of the requested file."""

    type: str = "text/html; charset=utf-8"
    text: bytes = b"<!DOCTYPE html><html><title>Sorry</title></html>"


@dataclass(frozen=True)
class Do:
    """Call a function just before the response."""

    action: Callable[[], None]


Fault = Status | Break | Stall | Trickle | Page | Do


@dataclass
class Request:
    path: str
    range: str | None
    authorization: str | None
    sent: int = 0
    """Bytes of the response that were sent."""


class HubServer:
    """`requests` are those that came, in order; `ranges`: whether it understands ranges at all."""

    def __init__(self) -> None:
        self.files: dict[str, bytes | Path] = {}
        self.etags = True
        self.weak = False  # one weak ETag, whatever the content
        self.lfs = True
        self.ranges = True
        self.if_range = True  # else it sends the range, whatever the condition
        self.requests: list[Request] = []
        self.token: str | None = None  # if set, the hub and its files require it
        # by name and revision: the commit, and the place in `files` of each of its files
        self._commits: dict[tuple[str, str], str] = {}
        self._datasets: dict[tuple[str, str], dict[str, str]] = {}
        # by name: the files of a model repository, and the settings that each was made with
        self.models: dict[str, dict[str, bytes]] = {}
        self.made: list[dict[str, object]] = []
        self.commits: list[str] = []  # messages
        self._large: dict[str, bytes] = {}  # by sha256
        self._faults: dict[str, list[Fault]] = {}
        self._lock = threading.Lock()
        self._servers = [self._serve(), self._serve()]
        self.url, self.storage = (f"http://127.0.0.1:{server.server_port}" for server in self._servers)

    def _serve(self) -> ThreadingHTTPServer:
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"site": self}))
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return server

    def __enter__(self) -> HubServer:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def put(self, path: str, content: bytes | Path) -> str:
        """The address of a file with this content."""
        self.files[f"/{path}"] = content
        return f"{self.url}/{path}"

    def dataset(self, name: str, files: Mapping[str, bytes | Path], commit: str | None = None) -> str:
        """A new commit of a dataset, which is `main` from now on; returns the commit."""
        commit = commit or hashlib.sha1(f"{name} {sorted(files)} {len(self._datasets)}".encode()).hexdigest()
        for path, content in files.items():
            self.files[f"/storage/{commit}/{path}"] = content
        tree = {path: f"/storage/{commit}/{path}" for path in files}
        self._datasets[name, commit] = self._datasets[name, "main"] = tree
        self._commits[name, commit] = self._commits[name, "main"] = commit
        return commit

    def spoil(self, path: str, *faults: Fault) -> None:
        """Set the faults of the next responses for a path, in order."""
        self._faults.setdefault(path, []).extend(faults)

    def sent(self, ending: str = "") -> int:
        """Bytes sent for all paths with that ending."""
        return sum(request.sent for request in self.requests if request.path.endswith(ending))

    def fault(self, path: str) -> Fault | None:
        with self._lock:
            waiting = self._faults.get(path)
            return waiting.pop(0) if waiting else None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    site: HubServer

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        path = unquote(url.path)
        self._request = Request(path, self.headers.get("Range"), self.headers.get("Authorization"))
        self.site.requests.append(self._request)
        try:
            fault = self.site.fault(path)
            if isinstance(fault, Do):
                fault.action()
                fault = None
            self._answer(path, parse_qs(url.query), fault)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        self._request = Request(path, None, self.headers.get("Authorization"))
        self.site.requests.append(self._request)
        fault = self.site.fault(path)
        if isinstance(fault, Status):
            self._say(fault.code, b"", dict(fault.headers))
        elif path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif not self._allowed():
            self._say(401, b"{}")
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/main", path):
            files = [
                {"path": file["path"], "uploadMode": _mode(file["path"]), "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            self._json({"files": files})
        elif re.fullmatch(r"/[^/]+/[^/]+\.git/info/lfs/objects/batch", path):
            objects = [
                {**each, "actions": {"upload": {"href": f"{self.site.storage}/large/{each['oid']}"}}}
                for each in json.loads(body)["objects"]
            ]
            self._json({"transfer": "basic", "objects": objects})
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path):
            self._commit(match[1], [json.loads(line) for line in body.splitlines() if line.strip()])
        else:
            self._say(404, b"not here")

    def do_PUT(self) -> None:
        """A large file, for the storage."""
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        digest = urlsplit(self.path).path.removeprefix("/large/")
        self.site._large[digest] = content
        same = hashlib.sha256(content).hexdigest() == digest
        self._say(200 if same else 400, b"")

    def _create(self, settings: dict[str, object]) -> None:
        name = f"{settings.get('organization')}/{settings['name']}"
        if name in self.site.models:
            self._say(409, json.dumps({"url": f"{self.site.url}/{name}"}).encode())
            return
        self.site.models[name] = {".gitattributes": b""}
        self.site.made.append(settings)
        self._json({"url": f"{self.site.url}/{name}", "id": name})

    def _commit(self, name: str, lines: list[dict[str, dict[str, str]]]) -> None:
        files = dict(self.site.models[name])
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                self.site.commits.append(value["summary"])
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.site._large[value["oid"]]
        self.site.models[name] = files
        commit = hashlib.sha1(repr(sorted(files)).encode()).hexdigest()
        self._json(
            {"success": True, "commitOid": commit, "commitUrl": f"{self.site.url}/{name}/commit/{commit}"}
        )

    def _model(self, name: str, path: str) -> None:
        """The listing of a model repository, or one of its files."""
        files = self.site.models.get(name)
        if not self._allowed():
            self._say(401, b"", {"X-Error-Code": "GatedRepo"})
        elif files is None:
            self._say(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif path == "":
            siblings = [{"rfilename": file} for file in sorted(files)]
            self._json({"id": name, "sha": "0" * 40, "siblings": siblings, "private": True, "tags": []})
        elif path == "tree/main":
            self._json(
                [
                    {"type": "file", "path": file, "size": len(content), "oid": "0" * 40}
                    for file, content in sorted(files.items())
                ]
            )
        elif path not in files:
            self._say(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": "0" * 40})
        else:
            etag = f'"{hashlib.sha1(files[path]).hexdigest()}"'
            self._say(200, files[path], {"ETag": etag, "X-Repo-Commit": "0" * 40})

    def _answer(self, path: str, query: dict[str, list[str]], fault: Fault | None) -> None:
        site = self.site
        if isinstance(fault, Status):
            self._say(fault.code, b"", dict(fault.headers))
        elif isinstance(fault, Trickle):
            self._trickle(fault)
        elif isinstance(fault, Page):
            self._say(200, fault.text, {"Content-Type": fault.type})
        elif match := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)(?:/revision/([^/]+))?", path):
            self._revision(match[1], match[2] or "main")
        elif match := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/tree/([^/]+)/?(.*)", path):
            self._tree(match[1], match[2], match[3], query)
        elif match := re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._resolve(*match.groups())
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/?(tree/main)?", path):
            self._model(match[1], match[2] or "")
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path):
            self._model(*match.groups())
        elif path in site.files:
            self._file(path, fault)
        else:
            self._say(404, b"not here")

    def _trickle(self, fault: Trickle) -> None:
        self.close_connection = True
        if fault.where == "headers":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        elif fault.where == "body":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 700000\r\n\r\n")
        piece = b"HTTP/1.1 100 Continue\r\n\r\n" if fault.where == "continue" else fault.piece
        while True:  # until the client closes the connection
            self.wfile.write(piece)
            time.sleep(fault.pause)

    def _allowed(self) -> bool:
        return self.site.token is None or self.headers.get("Authorization") == f"Bearer {self.site.token}"

    def _revision(self, name: str, revision: str) -> None:
        commits = self.site._commits
        if not any(known == name for known, _ in commits):
            self._say(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif (name, revision) not in commits:
            self._say(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        else:
            self._json({"id": name, "sha": commits[name, revision], "siblings": [], "private": False})

    def _tree(self, name: str, revision: str, folder: str, query: dict[str, list[str]]) -> None:
        """In pages of two, as the hub has pages of a thousand."""
        tree = self.site._datasets.get((name, revision), {})
        inside = sorted(path for path in tree if not folder or path.startswith(f"{folder}/"))
        if not inside:
            self._say(404, b"{}", {"X-Error-Code": "EntryNotFound"})
            return
        first = int(query.get("cursor", ["0"])[0])
        entries = [self._entry(path, self.site.files[tree[path]]) for path in inside[first : first + 2]]
        link = {}
        if first + 2 < len(inside):
            here = f"{self.site.url}/api/datasets/{name}/tree/{revision}/{folder}"
            link = {"Link": f'<{here}?recursive=true&expand=false&cursor={first + 2}>; rel="next"'}
        self._json(entries, link)

    def _entry(self, path: str, content: bytes | Path) -> dict[str, object]:
        with _opened(content) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.seek(0, 2)
            file.seek(0)
            git = hashlib.sha1(b"blob %d\0" % size + file.read()).hexdigest()
        entry: dict[str, object] = {"type": "file", "path": path, "size": size}
        if not self.site.lfs:
            return entry | {"oid": git}
        return entry | {"oid": "0" * 40, "lfs": {"oid": digest, "size": size, "pointerSize": 134}}

    def _resolve(self, name: str, revision: str, path: str) -> None:
        place = self.site._datasets.get((name, revision), {}).get(path)
        if not self._allowed():
            self._say(401, b"", {"X-Error-Code": "GatedRepo"})
        elif place is None:
            self._say(404, b"", {"X-Error-Code": "EntryNotFound"})
        else:
            self._say(302, b"", {"Location": f"{self.site.storage}{place}?Signature=secret"})

    def _file(self, path: str, fault: Fault | None) -> None:
        with _opened(self.site.files[path]) as file:
            size = file.seek(0, 2)
            file.seek(0)
            tag = f'"{hashlib.file_digest(file, "md5").hexdigest()}"' if size < 1 << 24 else f'"{size:x}"'
            tag = 'W/"same"' if self.site.weak else tag
            headers = {"ETag": tag} if self.site.etags else {}
            wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
            same = not self.site.if_range or self.headers.get("If-Range") in (None, tag)
            first, last, code = 0, size - 1, 200
            if wanted and same and self.site.ranges:
                first, code = int(wanted[1]), 206
                last = min(last, int(wanted[2] or last))
                if first > last:
                    self._say(416, b"", {"Content-Range": f"bytes */{size}"})
                    return
                headers["Content-Range"] = f"bytes {first}-{last}/{size}"
            self.send_response(code)
            length = {"Content-Length": str(last - first + 1), "Content-Type": "application/octet-stream"}
            for name, value in {**headers, **length}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                file.seek(first)
                self._send(file, last - first + 1, fault)

    def _send(self, file: IO[bytes], left: int, fault: Fault | None) -> None:
        until = fault.after if isinstance(fault, Break | Stall) else left
        while left and self._request.sent < until:
            piece = file.read(min(PIECE, left, until - self._request.sent))
            self._request.sent += len(
                piece
            )  # counted before sending, since a client may query it as soon as it has received all
            self.wfile.write(piece)
            left -= len(piece)
        if isinstance(fault, Stall):
            time.sleep(fault.seconds)
        if isinstance(fault, Break | Stall):
            self.close_connection = True

    def _json(self, value: object, headers: Mapping[str, str] | None = None) -> None:
        self._say(200, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _say(self, code: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command in ("GET", "POST"):
            self._request.sent += len(body)
            self.wfile.write(body)


def _mode(path: str) -> str:
    return "lfs" if path.endswith(".safetensors") else "regular"


def _opened(content: bytes | Path) -> io.BufferedReader | io.BytesIO:
    return open(content, "rb") if isinstance(content, Path) else io.BytesIO(content)
