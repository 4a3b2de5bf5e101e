"""What a page shows, read from its pixels, and when it showed it."""

import io
import time

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
            log.push([facts.expectedDisplayTime, facts.mediaTime]);
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


def played(log, speed=1):
    """By how many frames the others are off, for each frame that both show; and the speed that was played at.

    What is shown changes with the display only, so a time is rounded down to whole refreshes of it.
    """
    first, *others = ({round(media * FPS): shown for shown, media in entries} for entries in log.values())
    frame, refresh = 1000 / FPS / speed, 1000 / 60
    found = []
    for other in others:
        both = [abs(first[number] - other[number]) for number in first.keys() & other.keys()]
        found += [max(0, off - refresh) / frame for off in both]
    low, high = min(first), max(first)
    return found, (high - low) / FPS / ((first[high] - first[low]) / 1000)
