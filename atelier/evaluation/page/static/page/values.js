"use strict";
/* The metrics of one pair, a column for each variant, under the videos. */
(function (atelier) {
  const { make } = atelier;

  /** Whether a pair goes the way that the verdict over all pairs says. */
  function agrees(metric, comparison, base, value) {
    if (!comparison || !metric.better || !["better", "worse"].includes(comparison.verdict)) return false;
    if (metric.scope === "pair" || typeof base !== "number" || typeof value !== "number") return false;
    const better = metric.better === "higher" ? value > base : value < base;
    return value !== base && better === (comparison.verdict === "better");
  }

  const value = (item, metric, variant) =>
    (metric.scope === "pair" ? item.pairs[variant.id] : item.outputs[variant.id]?.metrics)?.[metric.name] ?? null;

  /** Which of the base and the variant that it is compared with is the better one; null where nothing says so. */
  function best(results, item, metric, variant) {
    const base = results.variants.find((one) => one.base);
    const comparison = results.comparisons.find((one) => one.variant === variant.id && one.metric === metric.name);
    if (!agrees(metric, comparison, value(item, metric, base), value(item, metric, variant))) return null;
    return comparison.verdict === "better" ? variant.id : base.id;
  }

  function row(variants, metric, valueOf, better) {
    const cells = variants.map((variant) => {
      const marked = variant.id === better;
      return make(
        "td",
        { role: "cell", class: marked ? "best" : "", "data-variant": variant.id, "data-head": variant.label },
        make("span", { class: "number" }, atelier.number(valueOf(metric, variant), metric.digits ?? 2)),
        marked ? make("span", { class: "mark" }, "better") : null,
      );
    });
    const unit = metric.unit ? make("span", { class: "quiet" }, ` ${metric.unit}`) : null;
    const head = make("th", { role: "rowheader", scope: "row" }, metric.label, unit);
    return make("tr", { role: "row", "data-metric": metric.name }, head, cells);
  }

  /**
   * A row for each metric, a column for each variant. valueOf(metric, variant) is a number or null; bestOf(metric) the
   * id of the variant that is marked, or null.
   */
  atelier.valueTable = function (label, variants, metrics, valueOf, bestOf) {
    const head = (text, name) => make("th", { scope: "col", role: "columnheader", class: name }, text);
    const heads = [head("Metric"), ...variants.map((variant) => head(variant.label, "figure"))];
    const rows = metrics.map((metric) => row(variants, metric, valueOf, bestOf(metric)));
    return make(
      "table",
      { class: "values", role: "table", "aria-label": label },
      make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, heads)),
      make("tbody", { role: "rowgroup" }, rows),
    );
  };

  function explained(results, compared) {
    const base = results.variants.find((variant) => variant.base);
    if (compared === base) return "";
    const verdict = `the verdict on ${compared.label} against ${base.label}`;
    return `“better” stands where ${verdict} is clear and this pair goes the same way.`;
  }

  function files(results, item) {
    const parts = results.variants
      .filter((variant) => item.outputs[variant.id])
      .flatMap((variant) => {
        const { metrics, facts, ...file } = item.outputs[variant.id];
        return [make("dt", {}, variant.label), make("dd", {}, atelier.facts({ ...file, ...facts }))];
      });
    return make(
      "details",
      {},
      make("summary", {}, "Files and settings of this pair"),
      make("dl", { class: "facts" }, parts),
    );
  }

  /** The tables of an item; compared: the variant that the base is compared with. */
  atelier.showValues = function (parent, results, item, compared) {
    const [current, old] = [false, true].map((legacy) =>
      results.metrics.filter((metric) => (metric.group === "legacy") === legacy),
    );
    const valueOf = (metric, variant) => value(item, metric, variant);
    const bestOf = (metric) => best(results, item, metric, compared);
    const table = (label, metrics) => atelier.valueTable(label, results.variants, metrics, valueOf, bestOf);
    const folded = make("details", {}, make("summary", {}, "The old report’s numbers"), table("Old numbers", old));
    parent.replaceChildren(
      make("h3", {}, "Values of this pair"),
      make("p", { class: "quiet" }, explained(results, compared)),
      table("Values of this pair", current),
      ...(old.length ? [folded] : []),
      files(results, item),
    );
  };
})(window.Atelier);
