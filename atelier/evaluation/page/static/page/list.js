"use strict";
/* The list of prompts and seeds. It holds text alone: only the chosen item's videos are ever loaded. */
(function (atelier) {
  const { make } = atelier;

  /** One form for the same letters: Korean from a file's name may come in pieces. */
  const folded = (text) => text.normalize("NFC").toLowerCase();

  class List {
    constructor(results, chosen) {
      const prompts = new Map(results.prompts.map(({ id, text }) => [id, text]));
      this.chosen = chosen;
      this.current = null;
      this.entries = results.items.map((item) => {
        const text = prompts.get(item.prompt) || item.name;
        const named = item.prompt ?? (text === item.name ? "" : item.name);
        const name = [named, item.seed === null ? "" : `seed ${item.seed}`].filter(Boolean).join(" · ");
        const button = make(
          "button",
          { type: "button", "data-item": item.id, click: () => chosen(item) },
          name ? make("span", { class: "quiet" }, name) : null,
          make("span", { class: "text" }, text),
        );
        return {
          item,
          text,
          name,
          button,
          words: folded(`${text} ${name} ${item.name}`),
          line: make("li", {}, button),
        };
      });
      atelier.byId("items").replaceChildren(...this.entries.map(({ line }) => line));
      this._seeds(results);
      for (const [id, event] of [
        ["search", "input"],
        ["seeds", "change"],
      ]) {
        atelier.byId(id).addEventListener(event, () => this.filter());
      }
      this.filter();
    }

    _seeds(results) {
      const seeds = [...new Set(results.items.map((item) => item.seed).filter((seed) => seed !== null))];
      seeds.sort((a, b) => a - b);
      const option = (value, label) => make("option", { value }, label);
      atelier
        .byId("seeds")
        .replaceChildren(option("", "All"), ...seeds.map((seed) => option(String(seed), String(seed))));
      atelier.byId("seeds").parentElement.hidden = seeds.length < 2;
    }

    /** Entries that hold every word that is searched for, and have the chosen seed. */
    filter() {
      const words = folded(atelier.byId("search").value).split(/\s+/).filter(Boolean);
      const seed = atelier.byId("seeds").value;
      this.visible = this.entries.filter(
        (entry) => words.every((word) => entry.words.includes(word)) && (!seed || String(entry.item.seed) === seed),
      );
      const visible = new Set(this.visible);
      for (const entry of this.entries) entry.line.hidden = !visible.has(entry);
      const [some, all] = [this.visible.length, this.entries.length];
      atelier.byId("count").textContent =
        some === all ? atelier.plural(all, "pair") : `${some} of ${atelier.plural(all, "pair")}`;
    }

    /** Marks an item as the one that is shown; returns its entry. */
    mark(item) {
      let marked = null;
      for (const entry of this.entries) {
        const current = entry.item === item;
        if (current) marked = entry;
        if (current) entry.button.setAttribute("aria-current", "true");
        else entry.button.removeAttribute("aria-current");
      }
      this.current = marked;
      this._reveal(marked.line);
      return marked;
    }

    /** Scrolls the list, and never the page. */
    _reveal(line) {
      const box = line.parentElement;
      const [top, bottom] = [line.offsetTop, line.offsetTop + line.offsetHeight];
      if (top < box.scrollTop) box.scrollTop = top;
      else if (bottom > box.scrollTop + box.clientHeight) box.scrollTop = bottom - box.clientHeight;
    }

    /** Goes to the next visible item, or for -1 to the one before. */
    move(step) {
      const index = this.visible.indexOf(this.current);
      const next = index < 0 ? this.visible[0] : this.visible[index + step];
      if (next) this.chosen(next.item);
    }
  }

  atelier.List = List;
})(window.Atelier);
