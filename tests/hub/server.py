"""A small hub on loopback: checkpoints and data sets by name, and every way in which a hub may misbehave.

It answers what ``huggingface_hub`` asks of the real one: https://huggingface.co/docs/hub/api.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

COMMIT = "c0ffee" * 6 + "c0ff"
"""The revision of every repository, once its weights are safetensors: a commit never changes what it holds."""

COMMIT_BEFORE = "decade" * 6 + "deca"

ADDRESSES = (
    r"/(?:api/(?:models|datasets)/(?P<listed>[^/]+/[^/]+)(?P<call>/.*)?"
    r"|(?:datasets/)?(?P<held>[^/]+/[^/]+)/resolve/[^/]+/(?P<file>.+))"
)
"""Of a repository's description and listing, and of its files."""

WEIGHTS = "model.safetensors"


class Hub:
    """Repositories by name, and what goes wrong with some of them.

    ``faults``: repository -> ``gated``, ``missing``, ``private``, ``bad token``, ``busy``, ``broken``, ``slow``,
    ``truncated``, ``altered``, ``pickles``, ``unreachable`` or ``no revision``. Slow ones send nothing of their weights
    but the first half until ``hurry`` is set. ``authorizations`` keeps the header of every request, repository by
    repository.
    """

    def __init__(self, repositories: dict[str, Path]) -> None:
        self.repositories = repositories
        self.faults: dict[str, str] = {}
        self.authorizations: dict[str, list[str | None]] = {}
        self.hurry = threading.Event()

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Serve on a free port of the loopback; yields what ``HF_ENDPOINT`` is set to."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            self.hurry.set()
            server.shutdown()
            server.server_close()
            thread.join()

    def commit(self, repository: str) -> str:
        return COMMIT_BEFORE if self.faults.get(repository) == "pickles" else COMMIT

    def files(self, repository: str) -> dict[str, Path]:
        """What a repository lists; with ``pickles`` its weights go by a pickle's name."""
        folder = self.repositories[repository]
        files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
        if self.faults.get(repository) == "pickles":
            files["pytorch_model.bin"] = files.pop(WEIGHTS)
        return files


REFUSALS = {  # fault -> status, X-Error-Code, X-Error-Message
    "gated": (401, "GatedRepo", "Access to this model is restricted."),
    "missing": (404, "RepoNotFound", "Repository not found"),
    "private": (401, "RepoNotFound", "Repository not found"),
    "bad token": (401, "", "Invalid credentials in Authorization header"),
    "busy": (429, "", "Too many requests"),
    "broken": (500, "", "Internal error"),
    "no revision": (404, "RevisionNotFound", "Invalid rev id"),
}


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_POST(self) -> None:
        """``paths-info``: which of these paths there are."""
        self._answer(body=True, asked=json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, *, body: bool, asked: Mapping[str, Any] | None = None) -> None:
        path = unquote(urlsplit(self.path).path)
        match = re.fullmatch(ADDRESSES, path)
        repository = match and (match["listed"] or match["held"])
        if repository not in self.hub.repositories:
            self._refuse(*REFUSALS["missing"])
            return
        self.hub.authorizations.setdefault(repository, []).append(self.headers.get("Authorization"))
        fault = self.hub.faults.get(repository, "")
        if fault == "unreachable":
            self.close_connection = True
        elif fault in REFUSALS:
            self._refuse(*REFUSALS[fault])
        elif match["file"]:
            self._file(repository, match["file"], fault, body=body)
        else:
            files, call = self.hub.files(repository), match["call"] or ""
            if asked is not None:
                self._json([_entry(name, files[name]) for name in asked["paths"] if name in files])
            elif tree := re.fullmatch(r"/tree/[^/]+(?:/(.+))?", call):
                self._json(_tree(files, f"{tree[1]}/" if tree[1] else "", deep="recursive=true" in self.path.lower()))
            else:
                self._json(_info(repository, self.hub.commit(repository), files))

    def _refuse(self, status: int, code: str, message: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", message)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _json(self, value: object) -> None:
        text = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def _file(self, repository: str, name: str, fault: str, *, body: bool) -> None:
        path = self.hub.files(repository).get(name)
        if path is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("X-Repo-Commit", self.hub.commit(repository))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content, weights = path.read_bytes(), name == WEIGHTS
        tag, size = _tag(path), len(content)
        if weights and fault == "altered":
            content = content[:-64] + bytes(64)
        part = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        start, end = (int(part[1]), int(part[2] or size - 1) + 1) if part else (0, size)
        content = content[start:end]
        if weights and body and fault == "truncated":
            content = content[: len(content) // 2]
        self.send_response(206 if part else 200)
        self.send_header("ETag", f'"{tag}"')
        self.send_header("X-Repo-Commit", self.hub.commit(repository))
        self.send_header("Accept-Ranges", "bytes")
        if part:
            self.send_header("Content-Range", f"bytes {start}-{min(end, size) - 1}/{size}")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if not body:
            return
        half = len(content) // 2
        self.wfile.write(content[:half])
        if weights and fault == "slow":
            self.wfile.flush()
            self.hub.hurry.wait(60)
        self.wfile.write(content[half:])


def _tag(path: Path) -> str:
    """As the hub has it: SHA-256 for large files, git's SHA-1 for small ones."""
    content = path.read_bytes()
    if path.suffix == ".safetensors":
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _entry(name: str, path: Path) -> dict[str, object]:
    size = path.stat().st_size
    entry: dict[str, object] = {"type": "file", "path": name, "size": size, "oid": _tag(path)[:40]}
    if path.suffix == ".safetensors":
        entry["lfs"] = {"oid": _tag(path), "size": size, "pointerSize": 134}
    return entry


def _tree(files: Mapping[str, Path], folder: str, *, deep: bool) -> list[dict[str, object]]:
    """What lies in a folder, named with its slash: the folders, then the files; with ``deep`` also what lies below."""
    below = [name for name in files if name.startswith(folder)]
    folders = {folder + name.removeprefix(folder).split("/")[0] for name in below} - set(files)
    return [{"type": "directory", "path": name, "size": 0, "oid": "0" * 40} for name in sorted(folders)] + [
        _entry(name, files[name]) for name in below if deep or "/" not in name.removeprefix(folder)
    ]


def _info(repository: str, commit: str, files: dict[str, Path]) -> dict[str, object]:
    siblings = [{"rfilename": name} for name in files]
    return {"_id": "0" * 24, "id": repository, "modelId": repository, "sha": commit, "private": False, "tags": []} | {
        "siblings": siblings,
        "downloads": 0,
        "likes": 0,
    }
