"""Videos side by side, in place and subtracted, in step to a frame."""

import pytest
from playwright.sync_api import expect

from atelier.evaluation.page import write_page
from tests.evaluation.page.samples import FRAMES, LABELS, THREE, frame_number, results, variant_shown, write_files
from tests.evaluation.page.seeing import all_show, in_step, numbers, play_to, played, seen, until, watched


def test_videos_decode_and_their_frames_differ(show):
    page = show()
    all_show(page, 0)
    for video in page.locator("video").all():
        ready, width, muted = video.evaluate("video => [video.readyState, video.videoWidth, video.muted]")
        assert (ready >= 2, width, muted) == (True, 384, True)
    assert {name: variant_shown(pixels) for name, pixels in seen(page).items()} == {
        "base": "base",
        "style-1.0": "style-1.0",
        "none-1.0": "base",
    }
    play_to(page, 8)
    page.keyboard.press("Space")
    assert set(numbers(page).values()) != {0}


@pytest.mark.parametrize("speed", [0.25, 1, 2])
def test_they_play_in_step_at_the_chosen_speed(show, speed):
    page = show()
    all_show(page, 0)
    page.locator(f"#speed [data-value='{speed}']").click()
    play_to(page, 12 * speed)  # Half a second, in which the last of them has started.
    found, rate = played(watched(page))
    assert in_step(found), found
    assert rate == pytest.approx(speed, rel=0.15)


def test_what_is_seen_while_they_play_is_in_step(show):
    page = show()
    page.locator("#loop").click()
    page.locator("#speed [data-value='0.5']").click()
    play_to(page, 8)
    moments = []
    while not moments or max(moments[-1]) < FRAMES - 1:
        moments.append(list(numbers(page).values()))
    assert len(moments) >= 3
    apart = [max(moment) - min(moment) for moment in moments]
    assert sum(one <= 1 for one in apart) >= 0.75 * len(apart), apart


@pytest.mark.parametrize("seconds", [-0.06, 0.4])
def test_a_video_that_is_off_comes_back(show, seconds):
    page = show()
    page.locator("#speed [data-value='0.5']").click()
    play_to(page, 12)
    page.locator("[data-pane='style-1.0'] video").evaluate("(video, off) => { video.currentTime += off }", seconds)
    play_to(page, 30)
    found, _ = played(watched(page))
    assert in_step(found), found  # it was off by more


def test_a_pause_leaves_all_on_the_frame_that_it_says(show):
    page = show()
    play_to(page, 24)
    page.keyboard.press("Space")
    expect(page.locator("#play")).to_have_attribute("aria-label", "Play")
    stopped = int(page.locator("#scrubber").input_value())
    all_show(page, stopped)


def test_steps_and_the_scrubber_show_exact_frames(show):
    page = show()
    page.locator("#scrubber").fill("37")
    all_show(page, 37)
    expect(page.locator("#time")).to_have_text("38 / 60 · 1.54 s")
    for key, number in ((".", 38), ("ArrowRight", 39), (",", 38), ("ArrowLeft", 37), ("Shift+ArrowRight", 47)):
        page.keyboard.press(key)
        all_show(page, number)
    page.locator("#back").click()
    all_show(page, 46)
    page.keyboard.press("End")
    all_show(page, FRAMES - 1)
    page.keyboard.press(".")
    all_show(page, FRAMES - 1)
    page.keyboard.press("Home")
    all_show(page, 0)


def test_a_loop_begins_again_in_step_and_without_one_the_last_frame_stays(show):
    page = show()
    page.locator("#scrubber").fill("50")
    play_to(page, 51)
    page.wait_for_function("document.querySelector('#scrubber').value < 40")
    play_to(page, 12)
    found, _ = played(watched(page))
    assert in_step(found), found
    page.locator("#loop").click()
    expect(page.locator("#play")).to_have_attribute("aria-label", "Play")
    all_show(page, FRAMES - 1)


def test_scrubbing_while_they_play_goes_on_from_there(show):
    page = show()
    play_to(page, 5)
    page.locator("#scrubber").fill("40")
    page.wait_for_function("document.querySelector('#scrubber').value >= 45")
    assert page.locator("#play").get_attribute("aria-label") == "Pause"


def test_the_toggle_swaps_in_place_at_the_same_frame(show):
    page = show()
    page.locator("#scrubber").fill("21")
    all_show(page, 21)
    page.keyboard.press("t")
    for name in ("style-1.0", "base", "style-1.0"):
        expect(page.locator("#swap [aria-pressed='true']")).to_have_text(LABELS[name])
        until(page, lambda: {key: variant_shown(pixels) for key, pixels in seen(page).items()}, {name: name})
        assert numbers(page) == {name: 21}
        page.keyboard.press("t")
    page.locator("#loop").click()
    play_to(page, 22)
    before = numbers(page)["base"]
    page.keyboard.press("t")
    after = seen(page)["style-1.0"]
    assert variant_shown(after) == "style-1.0"
    assert before - 1 <= frame_number(after)


def test_the_difference_of_equal_videos_is_black_and_of_others_what_differs(show):
    page = show()
    page.locator("#scrubber").fill("21")
    all_show(page, 21)
    page.keyboard.press("d")
    until(page, lambda: bool(seen(page)["difference"][:80].max() <= 8), True)  # empty at first
    for gain, grey in ((1, 60), (4, 240)):
        page.locator(f"#gain [data-value='{gain}']").click()
        pixels = seen(page)["difference"]
        half = pixels.shape[0] // 2
        assert pixels[: half - 8].max() <= 2 * gain  # The number is the same.
        assert pixels[half + 8 :].mean() == pytest.approx(grey, abs=3 * gain)
    page.locator("#variant").select_option("none-1.0")
    page.locator("#gain [data-value='16']").click()
    assert seen(page)["difference"].max() == 0
    page.keyboard.press("d")
    assert set(seen(page)) == set(THREE)


def test_the_difference_compares_frames_of_one_number_while_they_play(show):
    page = show()
    page.keyboard.press("d")
    play_to(page, 10)
    for _ in range(20):
        pixels = seen(page)["difference"]
        half = pixels.shape[0] // 2
        assert pixels[: half - 8].max() <= 8  # White where a frame were compared with its neighbour.
        assert pixels[half + 8 :].mean() == pytest.approx(240, abs=12)


def test_a_frame_that_stands_is_kept_under_its_own_number(show):
    page = show()
    all_show(page, 0)
    page.keyboard.press("d")
    page.evaluate(
        """() => {
            window.kept = [];
            const { keep } = Atelier.Difference.prototype;
            Atelier.Difference.prototype.keep = function (source, frame) {
                kept.push([frame, Math.floor(source.currentTime * 24)]);
                return keep.call(this, source, frame);
            };
        }"""
    )
    right = "number => kept.some(([frame, shown]) => frame == number && shown == number)"
    for key, number in ((".", 1), ("Shift+ArrowRight", 11), ("End", FRAMES - 1), ("Home", 0)):
        page.keyboard.press(key)
        page.wait_for_function(right, arg=number)
    kept = page.evaluate("kept")
    assert len(kept) >= 8
    assert all(frame == shown for frame, shown in kept), kept


@pytest.mark.parametrize(
    ("count", "seconds", "taken"),
    [(8, 1, True), (8, -1, False), (9, 1, False)],
    ids=["the next frame", "presented before it was drawn", "one was missed"],
)
def test_a_frame_is_compared_once_it_is_known_which_was_drawn(show, count, seconds, taken):
    page = show()
    page.locator("#scrubber").fill("21")
    all_show(page, 21)
    subtracted = page.evaluate(
        """([count, seconds]) => {
            const videos = [...document.querySelectorAll("video")].slice(0, 2);
            const difference = new Atelier.Difference(document.createElement("canvas"));
            let subtracted = 0;
            difference._subtract = () => subtracted++;
            difference.between(...videos, { width: 384, height: 224 });
            for (const video of videos) difference.follow(video, 21, { presentedFrames: 7, presentationTime: 0 });
            const next = { presentedFrames: count, presentationTime: performance.now() + 1000 * seconds };
            for (const video of videos) difference.follow(video, 22, next);
            return subtracted;
        }""",
        [count, seconds],
    )
    assert subtracted == taken


def test_only_the_chosen_pair_s_videos_are_there(show):
    shown = results(THREE, seeds=tuple(range(34)))
    for item in shown["items"]:
        item["outputs"] = shown["items"][1]["outputs"]
    page = show(shown)
    expect(page.locator("#items li")).to_have_count(102)
    assert page.locator("video").count() == 3
    page.locator("#items [data-item='p02-1']").click()
    assert page.locator("video").count() == 3
    all_show(page, 0)


def test_the_next_pair_goes_on_playing(show):
    page = show()
    play_to(page, 5)
    page.keyboard.press("j")
    expect(page.locator("#which")).to_have_text("p01 · seed 2")
    page.wait_for_function("document.querySelector('#scrubber').value > 2")
    assert page.locator("#play").get_attribute("aria-label") == "Pause"


def test_a_file_that_is_gone_is_named_and_the_others_play(browser, folder):
    shown = results(THREE)
    shown["items"][0]["outputs"]["base"]["file"] = "videos/base/gone.mp4"
    page = browser.new_page()
    page.goto(write_page(folder, shown).as_uri())
    expect(page.locator(".broken")).to_have_text("videos/base/gone.mp4 cannot be opened.")
    play_to(page, 12)
    page.close()


def test_pictures_have_the_same_views_and_no_player(show, tmp_path):
    shown = results(THREE, seeds=(1,), kind="images")
    write_files(tmp_path, shown)
    page = show(shown, where=tmp_path)
    expect(page.locator("#transport")).to_be_hidden()
    until(page, lambda: numbers(page), dict.fromkeys(THREE, 5))
    page.keyboard.press("t")
    page.keyboard.press("t")
    assert variant_shown(seen(page)["base"]) == "base"
    page.keyboard.press("d")
    until(page, lambda: seen(page)["difference"][-20:].mean() > 200, True)
    page.locator("#variant").select_option("none-1.0")
    assert seen(page)["difference"].max() == 0
