"use strict";
/* What came of it, before anything is looked at: were adapters applied, verdicts, what is missing, old numbers. */
(function (atelier) {
  const { make } = atelier;
  const CLEAR = new Set(["better", "worse", "higher", "lower"]);
  const DIRECTIONS = { higher: "higher is better", lower: "lower is better" };
  const GROUPS = [
    ["always", "Measured on the pixels"],
    ["learned", "Measured with networks"],
  ];

  const labels = (results) => new Map(results.variants.map((variant) => [variant.id, variant.label]));

  /** The very top: one line for each variant that was not applied. */
  atelier.showWarnings = function (parent, results) {
    const named = labels(results);
    parent.replaceChildren(
      ...results.applied
        .filter(({ applied }) => !applied)
        .map(({ variant, sentence }) =>
          make(
            "p",
            { class: "warning", role: "alert" },
            make("strong", {}, `Not applied: ${named.get(variant)}. `),
            sentence,
          ),
        ),
    );
  };

  /** A line for each variant: applied or not, and how many metrics say what. */
  atelier.showHeadlines = function (parent, results) {
    const named = labels(results);
    const others = results.variants.filter((variant) => !variant.base);
    parent.replaceChildren(
      ...others.map(({ id }) => {
        const applied = results.applied.find((entry) => entry.variant === id);
        const state = applied ? make("p", { class: applied.applied ? "" : "wrong" }, applied.sentence) : null;
        return make(
          "div",
          { class: "headline" },
          make("h3", {}, named.get(id)),
          state,
          make("p", {}, summed(results, id)),
        );
      }),
    );
  };

  function summed(results, variant) {
    const legacy = new Set(results.metrics.filter((metric) => metric.group === "legacy").map((metric) => metric.name));
    const found = results.comparisons.filter((one) => one.variant === variant && !legacy.has(one.metric));
    if (!found.length) return "No metric could be compared.";
    const verdicts = ["better", "worse", "higher", "lower", "no conclusion", "no difference"]
      .map((verdict) => [verdict, found.filter((one) => one.verdict === verdict).length])
      .filter(([, count]) => count)
      .map(([verdict, count]) => `${verdict} in ${count}`);
    const joined = verdicts.join(", ");
    return `Of ${atelier.plural(found.length, "metric")}: ${joined}.`;
  }

  /** Verdicts of one variant against the base, by group; then sets, what is missing, and the old numbers. */
  atelier.showVerdicts = function (parent, results, variant, { choose, open }) {
    const base = results.variants.find((one) => one.base);
    const others = results.variants.filter((one) => !one.base);
    const parts = [];
    const focused = parent.contains(document.activeElement);
    if (others.length > 1) {
      const group = make("div", { class: "choice", role: "group", "aria-label": "Variant" });
      atelier.choice(
        group,
        others.map(({ id, label }) => [id, label]),
        choose,
      )(variant);
      parts.push(make("div", { class: "bar" }, group));
    }
    const label = labels(results).get(variant);
    const corrected = results.comparisons.some((one) => typeof one.p_adjusted === "number");
    parts.push(
      make(
        "p",
        { class: "quiet" },
        `Differences are ${label} minus ${base.label}, pair by pair. `,
        "A verdict needs enough of them, p below 0.05 and a 95 % interval without 0; “no conclusion” is a result, ",
        "too: it says that these pairs do not settle it. ",
        corrected ? "p is corrected for how many metrics are read together (Holm)." : "",
      ),
    );
    for (const [group, title] of GROUPS) {
      const rows = compared(results, variant, group);
      if (rows.length) parts.push(make("h3", {}, title), table(title, rows, open));
    }
    parts.push(...sets(results), ...missing(results), ...atelier.legacy(results));
    parent.replaceChildren(...parts);
    if (focused) parent.querySelector('[aria-pressed="true"]')?.focus();
  };

  function compared(results, variant, group) {
    return results.metrics
      .filter((metric) => metric.group === group)
      .map((metric) => [
        metric,
        results.comparisons.find((one) => one.variant === variant && one.metric === metric.name),
      ])
      .filter(([, comparison]) => comparison);
  }

  const both = (low, high) => low !== null && low !== undefined && high !== null && high !== undefined;

  /** What was counted: prompts, where several seeds of one are no independent pairs. */
  function counted({ n, groups, unit }) {
    const pairs = atelier.plural(n, "pair");
    if (unit !== "prompt") return pairs;
    const prompts = atelier.plural(groups, "prompt");
    return groups === n ? prompts : `${prompts}, ${pairs}`;
  }

  /** Of the table: a column's class and head, and what it holds of a comparison. */
  const COLUMNS = [
    ["verdict", "Verdict", ({ verdict }) => make("span", { class: verdict.replace(" ", "-") }, verdict)],
    [
      "chart",
      "Each pair, median and interval",
      (one, { metric, open }) => (one.differences.length ? atelier.strip(one, metric, open) : null),
    ],
    ["figure", "Median", ({ median }, { signed }) => signed(median)],
    [
      "figure",
      "95 % interval",
      ({ low, high }, { signed }) => (both(low, high) ? `${signed(low)} to ${signed(high)}` : "–"),
    ],
    ["figure count", "n", counted],
    ["figure", "p", (one) => atelier.probability(one.p_adjusted ?? one.p)],
  ];

  function table(title, rows, open) {
    const head = (text, name) => make("th", { scope: "col", role: "columnheader", class: name }, text);
    // The roles are said again, as a table that is laid out as a grid on narrow screens loses them.
    return make(
      "table",
      { class: "verdicts", role: "table", "aria-label": title },
      make(
        "thead",
        { role: "rowgroup" },
        make(
          "tr",
          { role: "row" },
          head("Metric"),
          COLUMNS.map(([name, text]) => head(text, name)),
        ),
      ),
      make(
        "tbody",
        { role: "rowgroup" },
        rows.map(([metric, comparison]) => row(metric, comparison, open)),
      ),
    );
  }

  function row(metric, comparison, open) {
    const digits = atelier.digits(metric, [comparison.median, comparison.low, comparison.high]);
    const given = { metric, open, signed: (value) => atelier.signed(value, digits) };
    const direction = [metric.unit, DIRECTIONS[metric.better]].filter(Boolean).join(", ");
    return make(
      "tr",
      { role: "row", "data-metric": metric.name, class: CLEAR.has(comparison.verdict) ? "clear" : "" },
      make(
        "th",
        { role: "rowheader", scope: "row" },
        make(
          "details",
          {},
          make("summary", {}, metric.label),
          make("p", {}, metric.about),
          make("p", {}, comparison.sentence),
        ),
        make("span", { class: "quiet" }, direction),
      ),
      COLUMNS.map(([name, text, content]) =>
        make("td", { role: "cell", class: name, "data-head": text }, content(comparison, given)),
      ),
    );
  }

  function sets(results) {
    if (!results.sets.length) return [];
    const named = labels(results);
    const lines = results.sets.map((set) => {
      const value = set.value === null ? "" : `${atelier.number(set.value, 2)}${range(set)}, n = ${set.n}. `;
      return make("li", {}, make("strong", {}, `${set.label}, ${named.get(set.variant)}: `), value, set.sentence);
    });
    return [make("h3", {}, "Whole sets"), make("ul", { class: "lines", id: "sets" }, lines)];
  }

  const range = ({ low, high }) =>
    both(low, high) ? ` (95 % interval ${atelier.number(low, 2)} to ${atelier.number(high, 2)})` : "";

  function missing(results) {
    if (!results.missing.length) return [];
    const lines = results.missing.map((line) => make("li", {}, line));
    return [make("h3", {}, "Not computed"), make("ul", { class: "lines", id: "missing" }, lines)];
  }

  /** The command, and everything that the results depend on. */
  atelier.showReproduce = function (parent, { command, ...facts }) {
    const parts = Object.entries(facts).map(([name, values]) =>
      make(
        "details",
        {},
        make("summary", {}, name[0].toUpperCase() + name.slice(1).replaceAll("_", " ")),
        atelier.facts(values),
      ),
    );
    parent.replaceChildren(
      ...(command ? [make("pre", { tabindex: "0", "aria-label": "Command" }, command)] : []),
      ...parts,
    );
  };

  /** Names and values of any depth. */
  atelier.facts = function (values) {
    if (values === null || typeof values !== "object") return String(values ?? "–");
    if (Array.isArray(values) && values.every((value) => typeof value !== "object")) return values.join(", ") || "–";
    const entries = Object.entries(values).flatMap(([name, value]) => [
      make("dt", {}, name),
      make("dd", {}, atelier.facts(value)),
    ]);
    return entries.length ? make("dl", { class: "facts" }, entries) : "–";
  };
})(window.Atelier);
