"use strict";
/* Puts the parts together: the results, the choice of an item and a variant, keys, light and dark. */
(function (atelier, results) {
  const { make, byId } = atelier;
  const KEYS = [
    ["Space", "play or pause"],
    ["← → or , .", "one frame back or on; with Shift ten"],
    ["Home End", "first or last frame"],
    ["T", "swap in place, with and without"],
    ["D", "difference, and back"],
    ["F", "full screen, and back"],
    ["J K", "next or previous pair"],
    ["?", "these keys"],
  ];
  const STORED = "atelier-theme";

  const viewer = new atelier.Viewer(results, (id) => compare(id));
  const list = new atelier.List(results, (item) => choose(item));

  function choose(item) {
    const { text, name } = list.mark(item);
    byId("which").textContent = name;
    byId("prompt").textContent = text;
    viewer.load(item);
    showValues();
  }

  function showValues() {
    if (viewer.item) atelier.showValues(byId("values"), results, viewer.item, viewer.variant);
  }

  /** From a chart's dot to its pair. */
  function open(id) {
    choose(results.items.find((item) => item.id === id));
    byId("compare").scrollIntoView();
    byId("compare").focus({ preventScroll: true });
  }

  function compare(id) {
    viewer.compare(id);
    showValues();
    atelier.showVerdicts(byId("verdicts"), results, id, { choose: compare, open });
  }

  function about() {
    const named = (count, name) => atelier.plural(count, name);
    const seeds = new Set(results.items.map((item) => item.seed).filter((seed) => seed !== null)).size;
    const parts = [
      results.prompts.length ? named(results.prompts.length, "prompt") : null,
      seeds ? named(seeds, "seed") : null,
      named(results.variants.length, "variant"),
      named(results.items.length, "pair"),
    ];
    const day = new Date(results.created).toLocaleString("en-GB", { dateStyle: "long", timeStyle: "short" });
    return `${parts.filter(Boolean).join(", ")} · ${day}`;
  }

  /** Light and dark: the system's, until the switch says otherwise. */
  function theme() {
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const remembered = (act) => {
      try {
        return act(localStorage);
      } catch {
        return null; // Some browsers keep nothing for a page opened from disk.
      }
    };
    let chosen = remembered((store) => store.getItem(STORED));
    const apply = () => {
      const now = chosen || (dark.matches ? "dark" : "light");
      document.documentElement.dataset.theme = now;
      byId("theme").textContent = now === "dark" ? "Light colours" : "Dark colours";
      return now;
    };
    dark.addEventListener("change", apply);
    byId("theme").addEventListener("click", () => {
      chosen = apply() === "dark" ? "light" : "dark";
      remembered((store) => store.setItem(STORED, chosen));
      apply();
    });
    apply();
  }

  const acts = {
    " ": () => viewer.toggle(),
    ArrowLeft: (event) => viewer.step(event.shiftKey ? -10 : -1),
    ArrowRight: (event) => viewer.step(event.shiftKey ? 10 : 1),
    ",": () => viewer.step(-1),
    ".": () => viewer.step(1),
    Home: () => viewer.seek(0),
    End: () => viewer.seek(Infinity),
    t: () => viewer.swap(),
    d: () => viewer.toggleDifference(),
    f: () => viewer.full(),
    j: () => list.move(1),
    k: () => list.move(-1),
    "?": () => help(),
  };
  // The letters where these keys are while Korean is typed.
  const HANGUL = { ㅅ: "t", ㅇ: "d", ㄹ: "f", ㅓ: "j", ㅏ: "k" };

  function help() {
    const dialog = byId("help");
    if (dialog.open) dialog.close();
    else dialog.showModal();
  }

  /** Space presses the focused button where the keyboard brought the focus there; after a click it plays. */
  let pointed = false;
  const pressed = (element) =>
    !pointed && element.closest("button, summary, a") && !element.matches('[aria-current="true"]');

  function keys(event) {
    const { target } = event;
    const key = HANGUL[event.key] || (event.key.length === 1 ? event.key.toLowerCase() : event.key);
    const typing = target.closest('select, textarea, input:not([type="range"])');
    if (typing || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (!acts[key] || (byId("help").open && key !== "?") || (key === " " && pressed(target))) return;
    if (!viewer.moving && ["ArrowLeft", "ArrowRight", "Home", "End", " "].includes(key)) return;
    event.preventDefault();
    acts[key](event);
  }

  document.addEventListener("pointerdown", () => (pointed = true));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Tab") pointed = false;
    keys(event);
  });
  document.addEventListener("keyup", (event) => {
    // Firefox presses a button when the key is let go.
    if (event.key === " " && event.target.closest("button") && !pressed(event.target)) event.preventDefault();
  });
  for (const button of document.querySelectorAll(".keys")) button.addEventListener("click", help);

  document.title = results.title;
  byId("title").textContent = results.title;
  byId("about").textContent = about();
  byId("keys").replaceChildren(...KEYS.flatMap(([key, act]) => [make("dt", {}, key), make("dd", {}, act)]));
  theme();
  atelier.showWarnings(byId("warnings"), results);
  atelier.showHeadlines(byId("headlines"), results);
  atelier.showReproduce(byId("reproduce"), results.reproduce);
  if (viewer.others.length) compare(viewer.variant.id);
  if (results.items.length) choose(results.items[0]);
})(window.Atelier, window.ATELIER_RESULTS);
