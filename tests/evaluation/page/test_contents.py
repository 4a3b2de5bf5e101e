"""What the page says, and how it is used."""

import re
import unicodedata

import pytest
from playwright.sync_api import expect

from tests.evaluation.page.samples import LABELS, PROMPTS, THREE, results


def test_a_variant_that_was_not_applied_is_said_in_red_at_the_top(show):
    page = show()
    warning = page.locator(".warning")
    expect(warning).to_have_count(1)
    expect(warning).to_contain_text(f"Not applied: {LABELS['none-1.0']}")
    assert warning.bounding_box()["y"] == 0
    red, green, blue = map(int, re.findall(r"\d+", warning.evaluate("e => getComputedStyle(e).backgroundColor")))
    assert red > 3 * max(green, blue)
    expect(show(results()).locator(".warning")).to_have_count(0)


def test_the_better_one_is_marked_only_where_the_verdict_allows(show):
    cases = [
        # verdict, which way is better, without and with, who is marked
        ("better", "higher", (1, 2), ["style-1.0"]),
        ("better", "lower", (2, 1), ["style-1.0"]),
        ("worse", "higher", (2, 1), ["base"]),
        ("better", "higher", (2, 1), []),  # This pair goes the other way.
        ("no conclusion", "higher", (1, 2), []),
        ("no difference", "higher", (1, 2), []),
        ("higher", None, (1, 2), []),
        ("better", "higher", (1, None), []),
    ]
    shown = results()
    metric, comparison = shown["metrics"][0], shown["comparisons"][0]
    shown["metrics"] = [metric | {"name": f"m{i}", "better": better} for i, (_, better, _, _) in enumerate(cases)]
    shown["comparisons"] = [comparison | {"metric": f"m{i}", "verdict": case[0]} for i, case in enumerate(cases)]
    for side, output in enumerate(shown["items"][0]["outputs"].values()):
        output["metrics"] = {f"m{i}": values[side] for i, (_, _, values, _) in enumerate(cases)}
    page = show(shown)
    marked = page.evaluate("""() => [...document.querySelectorAll(".values tbody tr")].map((row) =>
        [...row.querySelectorAll("td")].filter((cell) => cell.innerText.includes("better"))
            .map((cell) => cell.dataset.variant))""")
    assert marked == [case[3] for case in cases]
    expect(page.locator(".verdicts td.verdict")).to_have_text([case[0] for case in cases])


def test_the_summary_gives_each_verdict_with_its_figures_and_a_chart(show):
    page = show()
    row = page.locator(".verdicts [data-metric='clip_score']")
    expect(row.locator("td:not(.chart)")).to_have_text(
        ["no conclusion", "+0.30", "−0.40 to +1.10", "3 prompts, 6 pairs", "0.315"]
    )
    chart = row.locator("svg")
    assert chart.locator(".dot").count() == 6
    assert chart.get_attribute("aria-label") == (
        "Differences in CLIP score, cosine × 100: 6 pairs from −0.48 to +1.32; "
        "median +0.30, 95 % interval −0.40 to +1.10."
    )
    zero, low, median, high = chart.evaluate("""chart => {
        const at = (name, end) => Number(chart.querySelector(name).getAttribute(end));
        return [at(".zero", "x1"), at(".interval", "x1"), at(".median", "x1"), at(".interval", "x2")];
    }""")
    assert low < zero < median < high
    assert (high - zero) / (zero - low) == pytest.approx(1.1 / 0.4, rel=0.01)
    assert "of 5 metrics: better in 1, worse in 1" in page.locator("#headlines").inner_text().lower()
    expect(page.locator("#sets")).to_contain_text("FVD, Without LoRA: not computed: n = 6")
    expect(page.locator("#missing")).to_contain_text("LPIPS: not computed")


def test_old_numbers_are_folded_with_what_is_wrong_with_them(show):
    page = show()
    old = page.locator("#legacy")
    expect(old.locator("table")).to_be_hidden()
    old.locator("summary").first.click()
    means = old.locator("[data-metric='legacy_overall'] td")
    expect(means).to_have_text(["0.950", "0.950", "0.950"])  # Of 0.9 and 1.0.
    expect(old).to_contain_text("white noise scores a perfect 1")
    expect(old).to_contain_text("FVD ≤ 1140")


def test_another_variant_is_chosen_for_the_summary_and_the_viewer_alike(show):
    page = show()
    page.locator("#verdicts .choice [data-value='none-1.0']").click()
    expect(page.locator("#variant")).to_have_value("none-1.0")
    expect(page.locator("#verdicts .choice [data-value='none-1.0']")).to_be_focused()
    page.keyboard.press("t")
    expect(page.locator("#swap button").nth(1)).to_have_text(LABELS["none-1.0"])


def test_videos_without_prompts_go_by_their_names(show):
    shown = results(THREE)
    shown["prompts"] = []
    for item in shown["items"]:
        item.update(prompt=None, seed=None, name=f"장면 {item['id']}")
    page = show(shown)
    expect(page.locator("#items li").first).to_have_text("장면 p01-1")
    expect(page.locator("#prompt")).to_have_text("장면 p01-1")
    expect(page.locator("#seeds")).to_be_hidden()
    expect(page.locator("#about")).to_have_text(re.compile("^3 variants, 6 pairs"))


def test_one_variant_alone_is_shown_without_a_comparison(show):
    page = show(results(("base",)))
    expect(page.locator("video")).to_have_count(1)
    expect(page.locator("#views")).to_be_hidden()
    expect(page.locator(".values").first).to_contain_text("100.0")
    page.keyboard.press("t")
    page.keyboard.press("d")
    expect(page.locator("#stage")).to_have_attribute("data-view", "side")


def test_a_dot_opens_its_pair(show):
    page = show()
    page.locator(".dot[data-item='p02-1']").first.click()
    expect(page.locator("#prompt")).to_have_text(PROMPTS["p02"])
    expect(page.locator("#compare")).to_be_focused()


def test_prompts_are_found_in_korean_and_by_seed(show):
    page = show()
    visible = page.locator("#items li:not([hidden])")
    expect(visible).to_have_count(6)
    page.locator("#search").fill(unicodedata.normalize("NFD", "서울 고양이"))
    expect(visible).to_have_count(2)
    expect(visible.first).to_contain_text("고양이가 창가에")
    page.locator("#seeds").select_option("2")
    expect(visible).to_have_count(1)
    expect(page.locator("#count")).to_have_text("1 of 6 pairs")
    page.locator("#search").fill("없는 말")
    expect(visible).to_have_count(0)


def test_keys(show):
    page = show()
    current = page.locator("#items [aria-current='true']")
    for key, item in (("j", "p01-2"), ("j", "p02-1"), ("k", "p01-2"), ("ㅏ", "p01-1"), ("k", "p01-1")):
        page.evaluate("key => document.body.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}))", key)
        expect(current).to_have_attribute("data-item", item)
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#help")).to_be_hidden()
    page.keyboard.press("f")
    page.wait_for_function("document.fullscreenElement?.id === 'viewer'")
    page.keyboard.press("f")
    page.wait_for_function("!document.fullscreenElement")
    page.locator("#search").press_sequentially("dt j")  # Words, not keys.
    expect(page.locator("#stage")).to_have_attribute("data-view", "side")
    expect(current).to_have_attribute("data-item", "p01-1")


def test_space_plays_after_a_click_and_presses_what_the_keyboard_has_reached(show):
    page = show()
    page.locator("#speed [data-value='0.5']").click()
    page.keyboard.press("Space")
    expect(page.locator("#play")).to_have_attribute("aria-label", "Pause")
    page.keyboard.press("Space")
    expect(page.locator("#play")).to_have_attribute("aria-label", "Play")
    page.keyboard.press("Tab")
    focused = page.locator("#speed [data-value='1']")
    expect(focused).to_be_focused()
    assert focused.evaluate("button => getComputedStyle(button).outlineStyle") == "solid"
    page.keyboard.press("Space")
    expect(focused).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#play")).to_have_attribute("aria-label", "Play")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_follow_the_system_until_the_switch(show, scheme):
    page = show(scheme=scheme)

    def dark():
        shades = page.evaluate(
            """() => ["backgroundColor", "color"].map((name) => getComputedStyle(document.body)[name])"""
        )
        paper, ink = (sum(map(int, re.findall(r"\d+", shade))) for shade in shades)
        assert abs(paper - ink) > 500
        return paper < ink

    assert dark() == (scheme == "dark")
    page.locator("#theme").click()
    assert dark() == (scheme == "light")
    page.reload()
    assert dark() == (scheme == "light")


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_page(show, width):
    shown = results(THREE, prompts=PROMPTS | {"p00": "길" * 400 + " " + "x" * 400})
    shown["items"].sort(key=lambda item: item["prompt"] != "p00")
    for item in shown["items"]:  # Its words are long; its videos are another prompt's.
        for output in item["outputs"].values():
            output["file"] = output["file"].replace("p00", "p01")
    page = show(shown, width=width)
    for details in page.locator("details").all():
        details.evaluate("details => { details.open = true }")
    for view in ("side", "one", "difference"):
        page.locator(f"#views [data-view='{view}']").click()
        assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.locator("#stage").bounding_box()["width"] <= width


def test_markup_in_texts_stays_text(show):
    shown = results(THREE)
    hostile = PROMPTS["p03"]
    for place in (shown, shown["applied"][1], shown["comparisons"][0], shown["sets"][0], shown["variants"][1]):
        place.update({name: hostile for name in ("title", "sentence", "label") if name in place})
    shown["missing"] = [hostile]
    shown["reproduce"] = {"command": hostile, "versions": {hostile: hostile}}
    page = show(shown)
    page.locator("[data-item='p03-1'] >> visible=true").last.click()
    expect(page.locator("#prompt")).to_have_text(hostile)
    expect(page.locator("#missing")).to_have_text(hostile)
    expect(page).to_have_title(hostile)
    assert page.locator("img, body script:not([src])").count() == 0
