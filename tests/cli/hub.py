"""A small server that speaks the few routes of the Hugging Face hub that a pull uses."""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import threading
import time
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """The hub with one repository; a context manager.

    Args:
        repository: its name.
        files: contents by name; those that end in .safetensors, .zip or .ckpt are large files, with a SHA-256.
        token: without it in a request, files answer 401 as a gated repository's.
        cuts: by name, after how many bytes each answer is cut off, one number an answer; then answers are whole.
        wrong: by name, other contents than were announced.
        announced: by name, another size than the file has.
        pause: seconds between pieces of 64 KiB.

    Attributes:
        asked: path and headers, by their names in small letters, of every request.
    """

    def __init__(self, repository, files, *, token=None, cuts=None, wrong=None, announced=None, pause=0.0):
        self.repository, self.files, self.token = repository, files, token
        self.cuts, self.wrong, self.announced, self.pause = cuts or {}, wrong or {}, announced or {}, pause
        self.asked = []

    def __enter__(self):
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                headers = {name.lower(): value for name, value in self.headers.items()}
                hub.asked.append((urlsplit(self.path).path, headers))
                hub.answer(self, unquote(urlsplit(self.path).path))

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def ranges(self, name):
        """The byte ranges that were asked for of a file."""
        return [headers.get("range") for path, headers in self.asked if path.endswith(f"/{name}")]

    def answer(self, request, path):
        """Answer one request."""
        described = re.fullmatch(rf"/api/models/{self.repository}(?:/revision/(.+))?", path)
        resolved = re.fullmatch(rf"/{self.repository}/resolve/{COMMIT}/(.+)", path)
        if described:
            if described[1] in (None, "main", "v1", COMMIT):
                return send(request, 200, json.dumps(self.description()).encode())
            return send(request, 404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        if resolved and resolved[1] in self.files:
            if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
                return send(request, 401, b"", {"X-Error-Code": "GatedRepo"})
            return self.send_file(request, resolved[1])
        return send(request, 404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def description(self):
        """A model's description with its files' sizes and digests."""
        siblings = []
        for name, content in self.files.items():
            size = self.announced.get(name, len(content))
            entry = {
                "rfilename": name,
                "size": size,
                "blobId": hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest(),
            }
            if name.endswith((".safetensors", ".zip", ".ckpt")):
                entry["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": size, "pointerSize": 134}
            siblings.append(entry)
        return {"_id": "1", "id": self.repository, "sha": COMMIT, "private": False, "tags": [], "siblings": siblings}

    def send_file(self, request, name):
        """A file, or what is asked for of it; cut off where it is to be."""
        content = self.wrong.get(name, self.files[name])
        begin = int(re.fullmatch(r"bytes=(\d+)-", request.headers["Range"])[1]) if "Range" in request.headers else 0
        body = content[begin:]
        request.send_response(206 if begin else 200)
        if begin:
            request.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        cuts = self.cuts.get(name, [])
        end = cuts.pop(0) if cuts else len(body)
        for at in range(0, end, 1 << 16):
            request.wfile.write(body[at : min(at + (1 << 16), end)])
            time.sleep(self.pause)
        request.close_connection = True


def send(request, status, body, headers=None):
    """One whole answer."""
    request.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(body)
