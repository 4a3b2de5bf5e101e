"""Photos in and videos out, by presigned URLs. No token goes there: the URL is the leave."""

from __future__ import annotations

import io

import aiohttp

from clients.job_worker.errors import NOT_NOW, Passing, Refused, reason
from clients.job_worker.settings import Settings, is_private

MAYBE_EXPIRED = {400, 401, 403}
"""How stores answer a URL whose time is over: S3 with 403, others with what they think of its token."""


class TooLarge(Exception):
    """More bytes than were asked for."""


class Storage:
    """Reads and writes files by presigned URLs.

    Both methods raise `Passing` where another try may do, with a fresh URL, and `Refused` where none will.

    Args:
        settings: the worker's: limits and timeouts.
        session: what is called with.
    """

    def __init__(self, settings: Settings, session: aiohttp.ClientSession) -> None:
        self._settings, self._session = settings, session
        self._timeout = aiohttp.ClientTimeout(total=settings.transfer_timeout)

    async def read_photo(self, url: str) -> bytes:
        """A photo's file, of at most ``max_photo`` bytes."""
        self._check(url)
        try:
            async with self._session.get(url, timeout=self._timeout, allow_redirects=False) as response:
                _judge("The photo", response.status)
                return await read_at_most(response, self._settings.max_photo)
        except TooLarge:
            raise Refused(f"The photo is larger than {self._settings.max_photo} bytes.") from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Passing(f"The photo cannot be fetched: {reason(error)}.") from None

    async def write_video(self, url: str, video: bytes) -> None:
        """Put an MP4 where the URL says."""
        self._check(url)
        headers = {"Content-Type": "video/mp4"}
        try:
            async with self._session.put(
                url, data=io.BytesIO(video), headers=headers, timeout=self._timeout, allow_redirects=False
            ) as response:
                _judge("The video", response.status)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Passing(f"The video cannot be stored: {reason(error)}.") from None

    def _check(self, url: str) -> None:
        if not is_private(url, self._settings.allow_http):
            raise Refused("The presigned URL is no https:// one, and would show the file to others.")


def _judge(what: str, status: int) -> None:
    """Raise what a store's status means."""
    if status in MAYBE_EXPIRED or status in NOT_NOW:
        raise Passing(f"{what}: the store answered {status}.")
    if not 200 <= status < 300:
        raise Refused(f"{what}: the store answered {status}.", status)


async def read_at_most(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """A whole body, whatever length its header names.

    Raises:
        TooLarge: it has more bytes than ``limit``.
    """
    parts, size = [], 0
    async for part in response.content.iter_chunked(1 << 16):
        size += len(part)
        if size > limit:
            raise TooLarge
        parts.append(part)
    return b"".join(parts)
