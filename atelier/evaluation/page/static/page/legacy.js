"use strict";
/* The old report's numbers: folded away, each with what is wrong with it, and without a verdict. */
(function (atelier) {
  const { make } = atelier;

  /** The mean over all videos, as the old report gave it; null where none has a value. */
  function mean(results, metric, variant) {
    const values = results.items
      .map((item) => item.outputs[variant.id]?.metrics[metric.name])
      .filter((value) => typeof value === "number");
    return values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null;
  }

  /** The section; nothing where there are no old numbers. */
  atelier.legacy = function (results) {
    const metrics = results.metrics.filter((metric) => metric.group === "legacy");
    if (!metrics.length) return [];
    const { notes, thresholds } = results.legacy;
    const lines = metrics
      .filter((metric) => notes[metric.name])
      .map((metric) => make("li", {}, make("strong", {}, `${metric.label}: `), notes[metric.name]));
    const valueOf = (metric, variant) => mean(results, metric, variant);
    return [
      make(
        "details",
        { class: "legacy", id: "legacy" },
        make("summary", {}, make("h3", {}, "The old report’s numbers, for comparison with old reports only")),
        make("ul", { class: "lines" }, lines),
        thresholds ? make("p", {}, make("strong", {}, "Thresholds of that programme: "), thresholds) : null,
        make(
          "p",
          { class: "quiet" },
          "Means over all pairs, as the old report gave them; no verdict is drawn from them.",
        ),
        atelier.valueTable("Old numbers, means", results.variants, metrics, valueOf, () => null),
      ),
    ];
  };
})(window.Atelier);
