"use strict";
/* The paired differences of a metric: a dot for each pair, the median, its interval, and the line of no change. */
(function (atelier) {
  const WIDTH = 280;
  const HEIGHT = 44;
  const RADIUS = 3;
  const LEVELS = [0, -1, 1, -2, 2]; // Of dots that would cover each other, from the middle outwards.
  const DOTS = 16; // The height at which dots lie, and below them the interval.
  const INTERVAL = 36;

  /** Dots side by side where they fit, else above and below each other. */
  function placed(differences, across) {
    const ends = LEVELS.map(() => -Infinity);
    return [...differences]
      .sort((a, b) => a.value - b.value)
      .map((difference) => {
        const x = across(difference.value);
        const free = ends.findIndex((end) => x - end >= 2 * RADIUS);
        const level = free < 0 ? ends.indexOf(Math.min(...ends)) : free;
        ends[level] = x;
        return { ...difference, x, y: DOTS + LEVELS[level] * 2 * RADIUS };
      });
  }

  /**
   * A chart of one comparison. Zero is in the middle, so that charts below each other share its line; each has the
   * scale of its own metric. chosen(item) is called for a dot that is clicked.
   */
  atelier.strip = function (comparison, metric, chosen) {
    const { draw } = atelier;
    const { differences, median, low, high } = comparison;
    const reach = Math.max(...differences.map(({ value }) => Math.abs(value)), Math.abs(low || 0), Math.abs(high || 0));
    const half = WIDTH / 2 - 2 * RADIUS;
    const across = (value) => WIDTH / 2 + (reach > 0 ? (value / reach) * half : 0);
    const digits = atelier.digits(metric, [reach]);
    const dots = placed(differences, across).map(({ item, value, x, y }) =>
      draw(
        "circle",
        { cx: x.toFixed(1), cy: y, r: RADIUS, class: "dot", "data-item": item, click: () => chosen(item) },
        draw("title", {}, `${item}: ${atelier.signed(value, digits)}`),
      ),
    );
    const marks = [draw("line", { x1: WIDTH / 2, x2: WIDTH / 2, y1: 0, y2: HEIGHT, class: "zero" })];
    if (low !== null && high !== null) {
      const ends = { x1: across(low).toFixed(1), x2: across(high).toFixed(1), y1: INTERVAL, y2: INTERVAL };
      marks.push(draw("line", { ...ends, class: "interval" }));
    }
    if (median !== null) {
      const x = across(median).toFixed(1);
      marks.push(draw("line", { x1: x, x2: x, y1: INTERVAL - 6, y2: INTERVAL + 6, class: "median" }));
    }
    const frame = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "strip", role: "img" };
    return draw("svg", { ...frame, "aria-label": spoken(comparison, metric, digits) }, dots, marks);
  };

  function spoken({ differences, median, low, high }, metric, digits) {
    const signed = (value) => atelier.signed(value, digits);
    const values = differences.map(({ value }) => value);
    if (!values.length) return `${metric.label}: no pairs.`;
    const [least, most] = [Math.min(...values), Math.max(...values)].map(signed);
    const range = `${atelier.plural(values.length, "pair")} from ${least} to ${most}`;
    const interval = low === null || high === null ? "no interval" : `95 % interval ${signed(low)} to ${signed(high)}`;
    return `Differences in ${metric.label}: ${range}; median ${signed(median)}, ${interval}.`;
  }
})(window.Atelier);
