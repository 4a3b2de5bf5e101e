"""The four calls of the contract: ``POST /api/worker/…``, each answered with ``{success, data|error}``."""

from __future__ import annotations

import json
from typing import Annotated, Any, TypeVar

import aiohttp
from pydantic import BaseModel, Field, StrictStr, ValidationError

from clients.job_worker.errors import NOT_NOW, LeaseLost, Passing, Refused, Unauthorized, one_line, reason
from clients.job_worker.settings import Settings
from clients.job_worker.storage import TooLarge, read_at_most
from clients.job_worker.tasks import Offer, sentence

_LARGEST = 1 << 20  # bytes of an answer
_UNOWNED = {403, 404}

Text = Annotated[StrictStr, Field(min_length=1)]
T = TypeVar("T", bound=BaseModel)


class Presigned(BaseModel):
    """Leave to read or write one file, for an hour.

    Attributes:
        url: a secret, since it holds the signature.
        storage_path: where the file is, for the report.
    """

    url: Text
    storage_path: Text | None = None


class ControlPlane:
    """Calls the control plane as one worker.

    Every method raises `Passing` where it does not answer as it should, `Unauthorized` where it does not know the
    token, and `Refused` where it refuses for another reason.

    Args:
        settings: the worker's: address, token, name, lease.
        session: what is called with.
    """

    def __init__(self, settings: Settings, session: aiohttp.ClientSession) -> None:
        self._settings, self._session = settings, session
        self._timeout = aiohttp.ClientTimeout(total=settings.api_timeout)

    async def next_task(self) -> Offer | None:
        """The oldest waiting task, leased to this worker from now on; ``None`` where there is none."""
        lease = {"lease_duration_seconds": self._settings.lease_seconds}
        data = await self._call("next-task", {"worker_id": self._settings.worker_id, **lease})
        return None if data is None else self._read("next-task", Offer, data)

    async def presign_download(self, storage_path: str) -> Presigned:
        """Leave to read a photo."""
        body = {"operation": "download", "storage_path": storage_path}
        return self._read("presign", Presigned, await self._call("presign", body))

    async def presign_upload(self, item_id: str) -> Presigned:
        """Leave to write a task's video."""
        body = {"operation": "upload", "video_item_id": item_id, "file_extension": "mp4"}
        return self._read("presign", Presigned, await self._call("presign", body))

    async def heartbeat(self, item_id: str) -> None:
        """Extend the lease to its whole length from now on: never by less, which would shorten it.

        Raises:
            LeaseLost: the task is another's, or done.
        """
        await self._owned("heartbeat", item_id, {"extend_seconds": self._settings.lease_seconds})

    async def report_completed(self, item_id: str, storage_path: str) -> None:
        """Say that the video is there.

        Raises:
            LeaseLost: the task is another's.
        """
        await self._owned("report", item_id, {"status": "completed", "video_storage_path": storage_path})

    async def report_failed(self, item_id: str, message: str) -> None:
        """Say why there is no video, in one sentence.

        Raises:
            LeaseLost: the task is another's.
        """
        await self._owned("report", item_id, {"status": "failed", "error_message": one_line(message)})

    async def _owned(self, endpoint: str, item_id: str, body: dict[str, Any]) -> None:
        """A call that only the task's own worker may make."""
        try:
            await self._call(endpoint, {"item_id": item_id, "worker_id": self._settings.worker_id, **body})
        except Refused as error:
            if error.status in _UNOWNED:
                raise LeaseLost(str(error)) from None
            raise

    def _read(self, endpoint: str, kind: type[T], data: Any) -> T:
        try:
            return kind.model_validate(data)
        except ValidationError as error:
            raise Passing(f"The control plane's answer to {endpoint} cannot be read: {sentence(error)}.") from None

    async def _call(self, endpoint: str, body: dict[str, Any]) -> Any:
        """Call, and take the answer's data out."""
        # Not among the session's own headers: storage must not see it.
        headers = {"Authorization": f"Worker {self._settings.token.get_secret_value()}"}
        options: dict[str, Any] = {"json": body, "headers": headers, "timeout": self._timeout, "allow_redirects": False}
        try:
            async with self._session.post(f"{self._settings.base_url}/api/worker/{endpoint}", **options) as response:
                status, content = response.status, await read_at_most(response, _LARGEST)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Passing(f"The control plane does not answer {endpoint}: {reason(error)}.") from None
        except TooLarge:
            raise Passing(f"The control plane's answer to {endpoint} is longer than {_LARGEST} bytes.") from None
        return _data(endpoint, status, content)


def _data(endpoint: str, status: int, content: bytes) -> Any:
    """What an answer holds, or what it says went wrong."""
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        answer = None
    envelope: dict[str, Any] = answer if isinstance(answer, dict) else {}
    said = one_line(envelope.get("error") or "no reason given").removesuffix(".")
    if status == 401:
        raise Unauthorized(f"The control plane does not accept the token (401: {said}).")
    if status in NOT_NOW:
        raise Passing(f"The control plane answered {endpoint} with {status}: {said}.")
    if status >= 300:
        raise Refused(f"The control plane refused {endpoint} with {status}: {said}.", status)
    if not envelope:
        raise Passing(f"The control plane's answer to {endpoint} is no JSON object.")
    if envelope.get("success") is not True:
        raise Refused(f"The control plane refused {endpoint}: {said}.", status)
    return envelope.get("data")
