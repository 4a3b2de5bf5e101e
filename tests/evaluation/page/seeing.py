"""What a page shows, read from its pixels, and when it showed it."""

import io
import time
from itertools import pairwise

import numpy as np
from PIL import Image
from playwright.sync_api import expect

from tests.evaluation.page.samples import FPS, FRAMES, THREE, frame_number

WATCH = """() => {
    window.seen = {};
    for (const pane of document.querySelectorAll("[data-pane]")) {
        const video = pane.querySelector("video");
        if (!video) continue;
        const log = window.seen[pane.dataset.pane] = [];
        const next = (_, facts) => {
            const now = performance.now();
            log.push([facts.expectedDisplayTime, facts.mediaTime, facts.presentedFrames, now, video.currentTime]);
            video.requestVideoFrameCallback(next);
        };
        video.requestVideoFrameCallback(next);
    }
}"""


def seen(page):
    """Pixels [h, w, 3] of every pane, from one screenshot, so of one moment."""
    page.locator("#stage").evaluate("stage => stage.scrollIntoView({block: 'center', behavior: 'instant'})")
    boxes = page.evaluate("""() => Object.fromEntries(
        [...document.querySelectorAll('#stage [data-pane]:not([aria-hidden="true"])')].map((pane) => {
            const box = pane.querySelector(".box").getBoundingClientRect();
            return [pane.dataset.pane, [box.left, box.top, box.right, box.bottom].map(Math.round)];
        }))""")
    left, top = (min(box[side] for box in boxes.values()) for side in (0, 1))
    right, bottom = (max(box[side] for box in boxes.values()) for side in (2, 3))
    clip = {"x": left, "y": top, "width": right - left, "height": bottom - top}
    pixels = np.asarray(Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB"))
    return {name: pixels[y0 - top : y1 - top, x0 - left : x1 - left] for name, (x0, y0, x1, y1) in boxes.items()}


def until(page, found, wanted):
    """Waits for what must come; says what came instead."""
    end = time.monotonic() + 10
    while (last := found()) != wanted and time.monotonic() < end:
        page.evaluate("() => new Promise(requestAnimationFrame)")
    assert last == wanted


def numbers(page):
    return {name: frame_number(pixels) for name, pixels in seen(page).items()}


def all_show(page, number, names=THREE):
    """Every video shows a frame, and the player says so (from 1)."""
    until(page, lambda: numbers(page), dict.fromkeys(names, number))
    expect(page.locator("#time")).to_contain_text(f"{number + 1} / {FRAMES} · ")


def play_to(page, frame):
    """Plays until the first video has come to a frame."""
    if page.locator("#play").get_attribute("aria-label") == "Play":
        page.keyboard.press("Space")
    page.wait_for_function("frame => document.querySelector('#scrubber').value >= frame", arg=frame)


def watched(page, frames=14):
    """What the videos show, until it is known for so many frames of each: a stall makes it late, not wrong."""
    page.evaluate(WATCH)
    known = "log.filter((entry, index) => index && entry[2] === log[index - 1][2] + 1).length"
    page.wait_for_function(f"frames => Object.values(seen).every((log) => {known} >= frames)", arg=frames)
    return page.evaluate("seen")


def played(log):
    """By how many frames the others are off from the first wherever it is known what both show; and the first's speed.

    Between two callbacks it is known where none was missed in between. The speed is the clock's, not the display's, and
    of all slopes the middle one: a stall shows a frame late, and stops none or all of them.
    """
    first, *others = (_known(entries) for entries in log.values())
    found = [
        abs(one - another)
        for other in others
        for begun, ended, another in other
        for start, end, one in first
        if max(start, begun) < min(end, ended)
    ]
    times = [entry[3:] for entry in next(iter(log.values()))]
    return found, float(np.median([1000 * (b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise(times)]))


def _known(entries):
    """From when until when a frame was shown."""
    return [(a[0], b[0], round(a[1] * FPS)) for a, b in pairwise(entries) if b[2] == a[2] + 1]


def in_step(found):
    """Within a frame: nearly always, as one that fell behind is brought back within a second."""
    return len(found) >= 4 and np.mean(np.array(found) <= 1) > 2 / 3
