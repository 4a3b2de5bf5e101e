"""Mixed traffic on ``inpaint``: pictures of many sizes, requests that are none, calls that are given up."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from atelier.client import (
    AsyncClient,
    AtelierError,
    DeadlineExceeded,
    InvalidRequest,
    QueueFull,
    QueueTimeout,
    ServerUnavailable,
)
from atelier.media import Picture, encode_picture

GOOD, BAD, CANCELLED = "good", "bad", "cancelled"
SHARES = {GOOD: 0.8, BAD: 0.12, CANCELLED: 0.08}
"""What the callers send, drawn anew for each call."""

SIDES = (96, 640)
"""Pixels of a picture's sides, drawn between these."""

PICTURES = 24
"""Different pictures; as many sizes."""

TIMEOUT = 60.0
REST = 0.5
"""Seconds that a caller waits after it was refused for want of room, or found no server."""


@dataclass(frozen=True)
class Page:
    """A picture, its mask, and both as files."""

    pixels: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    files: tuple[bytes, bytes]


@dataclass
class Found:
    """What became of the calls.

    Attributes:
        outcomes: how many calls of each kind came to what; ``wrong`` is a picture changed outside of its mask, or a bad
            request that was answered.
        answered: when each good answer came, and what it took, in seconds since the beginning.
        errors: a few of the sentences that were not foreseen.
    """

    outcomes: dict[str, Counter[str]] = field(default_factory=lambda: {kind: Counter() for kind in SHARES})
    answered: list[tuple[float, float]] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)


def pages(seed: int) -> list[Page]:
    """Noise of many sizes, with a hole of a ninth of the area."""
    draw = np.random.default_rng(seed)
    made = []
    for _ in range(PICTURES):
        height, width = (int(side) for side in draw.integers(*SIDES, 2))
        pixels = draw.integers(0, 256, (height, width, 3), dtype=np.uint8)
        mask = np.zeros((height, width), np.uint8)
        mask[height // 3 : height * 2 // 3, width // 3 : width * 2 // 3] = 255
        files = (encode_picture(Picture(pixels, None, "png")), encode_picture(Picture(mask[..., None], None, "png")))
        made.append(Page(pixels, mask, files))
    return made


async def send(url: str, seconds: float, callers: int, seed: int, started: float) -> Found:
    """Call until the time is over.

    Args:
        url: the server's, gRPC.
        seconds: how long.
        callers: calls under way.
        seed: of pictures and of what is drawn.
        started: `perf_counter` at the beginning.
    """
    found, drawn = Found(), pages(seed)

    async def call_again_and_again(client: AsyncClient, number: int) -> None:
        draw = random.Random(f"{seed} {number}")
        while perf_counter() - started < seconds:
            (kind,) = draw.choices(list(SHARES), list(SHARES.values()))
            outcome = await _outcome(client, kind, draw, drawn, found, started)
            found.outcomes[kind][outcome] += 1
            if outcome in ("queue full", "no server"):
                await asyncio.sleep(REST)

    async with AsyncClient(url, timeout=TIMEOUT) as client:
        await asyncio.gather(*(call_again_and_again(client, number) for number in range(callers)))
    return found


async def _outcome(
    client: AsyncClient, kind: str, draw: random.Random, drawn: list[Page], found: Found, started: float
) -> str:
    page = draw.choice(drawn)
    began = perf_counter()
    try:
        if kind == CANCELLED:
            return await _give_up(client, page, draw.uniform(0.01, 0.3))
        if kind == BAD:
            await _bad(client, page, draw)
            return "wrong"
        result = await client.inpaint(*page.files)
    except InvalidRequest as error:
        return "refused" if kind == BAD else _note(found, error)
    except (QueueFull, QueueTimeout):
        return "queue full"
    except DeadlineExceeded:
        return "too late"
    except ServerUnavailable:
        return "no server"
    except AtelierError as error:
        return _note(found, error)
    found.answered.append((round(perf_counter() - started, 3), round(perf_counter() - began, 4)))
    outside = page.mask == 0
    return "answered" if np.array_equal(result.image[outside], page.pixels[outside]) else "wrong"


async def _give_up(client: AsyncClient, page: Page, after: float) -> str:
    call = asyncio.create_task(client.inpaint(*page.files))
    await asyncio.wait([call], timeout=after)
    if call.done() and not call.exception():
        return "answered"
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    return "given up"


async def _bad(client: AsyncClient, page: Page, draw: random.Random) -> None:
    image, mask = page.files
    kind = draw.randrange(4)
    if kind == 0:
        await client.inpaint(image[: len(image) // 2], mask)
    elif kind == 1:
        await client.inpaint(image, mask, margin=100_000)
    elif kind == 2:
        await client.inpaint(image, mask, strategy="magic")
    else:
        await client.inpaint(draw.randbytes(2000), mask)


def _note(found: Found, error: AtelierError) -> str:
    if len(found.errors) < 20:
        found.errors[str(error)[:200]] += 1
    return "failed"
