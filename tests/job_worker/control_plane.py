"""A control plane that keeps the contract's rules, on a real port: queue, leases, reports, and a store for files."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

TOKEN = "a-very-secret-token"


@dataclass
class Item:
    """One row of the queue."""

    item_id: str
    prompt: Any
    photo: str | None = None
    frame_num: Any = None
    status: str = "pending"
    owner: str = ""
    leased_until: float = 0.0
    retry_count: int = 0
    error: str = ""
    video: str = ""


@dataclass(frozen=True)
class Call:
    """What was asked, and what was answered."""

    name: str
    body: dict[str, Any]
    status: int
    at: float
    worker: str = ""


@dataclass
class ControlPlane:
    """The server. It may be stopped and started again, on its port.

    Attributes:
        items: the queue, oldest first.
        files: the store.
        calls: everything that was asked: the endpoints, and GET and PUT of files.
        faults: by such a name, what the next calls are answered with instead: a status, or None to hang up.
        late: likewise, but the call is done before its answer is lost.
        expires: seconds that the next presigned URLs are good for; an hour where it is empty.
    """

    items: dict[str, Item] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    faults: dict[str, deque[int | None]] = field(default_factory=lambda: defaultdict(deque))
    late: dict[str, deque[int | None]] = field(default_factory=lambda: defaultdict(deque))
    expires: deque[float] = field(default_factory=deque)
    port: int = 0

    def __post_init__(self) -> None:
        self._links: dict[str, tuple[str, str, float]] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def add(self, prompt: Any = "a cat", **facts: Any) -> Item:
        item = Item(f"item-{len(self.items)}", prompt, **facts)
        self.items[item.item_id] = item
        return item

    def named(self, name: str, item_id: str = "") -> list[Call]:
        return [call for call in self.calls if call.name == name and item_id in (call.body.get("item_id"), "")]

    # The server's life, in a thread of its own.

    def start(self) -> None:
        started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(started)), daemon=True)
        self._thread.start()
        assert started.wait(10)

    async def _serve(self, started: threading.Event) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        application = web.Application(client_max_size=1 << 26)
        for name in ("next-task", "presign", "heartbeat", "report"):
            application.router.add_post(f"/api/worker/{name}", self._endpoint)
        application.router.add_route("*", "/store/{link}", self._store)
        runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port)
        await site.start()
        self.port = runner.addresses[0][1]
        started.set()
        await self._stopping.wait()
        await runner.cleanup()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(10)

    # The contract.

    async def _endpoint(self, request: web.Request) -> web.StreamResponse:
        name = request.path.rpartition("/")[2]
        body = await request.json()
        return await self._answer(request, name, body, lambda: self._do(request, name, body))

    async def _answer(self, request, name, body, work) -> web.StreamResponse:
        fault = self.faults[name].popleft() if self.faults[name] else 0
        status, data = (fault, "as the test wants it") if fault != 0 else work()
        if fault == 0 and self.late[name]:
            status = self.late[name].popleft()
        self.calls.append(Call(name, body, status or 0, time.monotonic(), body.get("worker_id", "")))
        if status is None:
            request.transport.abort()
            return web.Response()
        if isinstance(data, bytes):
            return web.Response(body=data)
        said = {"success": True, "data": data} if status == 200 else {"success": False, "error": data}
        return web.json_response(said, status=status)

    def _do(self, request: web.Request, name: str, body: dict[str, Any]) -> tuple[int, Any]:
        if request.headers.get("Authorization") != f"Worker {TOKEN}":
            return 401, "Invalid worker token"
        return {
            "next-task": self._next_task,
            "presign": self._presign,
            "heartbeat": self._heartbeat,
            "report": self._report,
        }[name](body)

    def _next_task(self, body: dict[str, Any]) -> tuple[int, Any]:
        now = time.time()
        for item in self.items.values():
            waiting = item.status == "pending" or (item.status == "processing" and item.leased_until < now)
            if waiting and item.retry_count < 3:
                item.status, item.owner = "processing", body["worker_id"]
                item.leased_until = now + body.get("lease_duration_seconds", 600)
                return 200, {
                    "item_id": item.item_id,
                    "group_id": "group",
                    "photo_id": "photo",
                    "prompt": item.prompt,
                    "leased_until": item.leased_until,
                    "photo_storage_path": item.photo,
                    "frame_num": item.frame_num,
                }
        return 200, None

    def _presign(self, body: dict[str, Any]) -> tuple[int, Any]:
        if body["operation"] == "download":
            path, method = body["storage_path"], "GET"
        else:
            item = self.items.get(body["video_item_id"])
            if item is None:
                return 404, "Video item not found"
            path, method = f"videos/{item.item_id}.{body['file_extension']}", "PUT"
        link, seconds = secrets.token_hex(8), self.expires.popleft() if self.expires else 3600
        self._links[link] = (method, path, time.time() + seconds)
        url = f"{self.url}/store/{link}?signature={secrets.token_hex(16)}"
        return 200, {"url": url, "expires_in": 3600, "storage_path": path}

    def _heartbeat(self, body: dict[str, Any]) -> tuple[int, Any]:
        item = self.items.get(body["item_id"])
        if item is None or item.owner != body["worker_id"] or item.status != "processing":
            return 404, "Item not found or not owned by this worker"
        item.leased_until = time.time() + body.get("extend_seconds", 300)
        return 200, {"leased_until": item.leased_until}

    def _report(self, body: dict[str, Any]) -> tuple[int, Any]:
        item = self.items.get(body["item_id"])
        if item is None:
            return 404, "Item not found"
        if item.owner != body["worker_id"]:
            return 403, "Item is leased by another worker"
        item.status = body["status"]
        if item.status == "completed":
            item.video = body["video_storage_path"]
        else:
            item.error, item.retry_count = body["error_message"], item.retry_count + 1
        return 200, {"status": item.status}

    async def _store(self, request: web.Request) -> web.StreamResponse:
        content = await request.read()
        facts = {"type": request.content_type, "authorization": request.headers.get("Authorization", "")}
        return await self._answer(request, request.method, facts, lambda: self._file(request, content))

    def _file(self, request: web.Request, content: bytes) -> tuple[int, Any]:
        method, path, until = self._links.get(request.match_info["link"], ("", "", 0.0))
        if request.method != method or time.time() > until:
            return 403, "Request has expired"
        if method == "PUT":
            self.files[path] = content
            return 200, {}
        return (200, self.files[path]) if path in self.files else (404, "Object not found")
