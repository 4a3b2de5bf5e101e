"use strict";
/* What every part of the page uses: elements, numbers as text, and where files are.
   Each script adds to one object, as modules are not loaded from disk. */
window.Atelier = {};

(function (atelier) {
  /** Of elements made here: text from the results only ever becomes text nodes, so that markup in it stays text. */
  function filled(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (typeof value === "function") element.addEventListener(name, value);
      else element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.flat().filter((child) => child !== null && child !== undefined));
    return element;
  }

  /** An HTML element; a function among the attributes listens for the event of that name. */
  atelier.make = (tag, attributes, ...children) => filled(document.createElement(tag), attributes, children);

  /** An SVG element. */
  atelier.draw = (tag, attributes, ...children) =>
    filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

  atelier.byId = (id) => document.getElementById(id);

  /** Buttons of which one is pressed; returns a function that presses the one of a value. */
  atelier.choice = function (parent, options, chosen) {
    parent.replaceChildren(
      ...options.map(([value, label]) =>
        atelier.make("button", { type: "button", "data-value": value, click: () => chosen(value) }, label),
      ),
    );
    return function (value) {
      for (const button of parent.children) {
        button.setAttribute("aria-pressed", String(button.dataset.value === String(value)));
      }
    };
  };

  /** A number, or a dash for none. */
  atelier.number = function (value, digits) {
    if (value === null || value === undefined) return "–";
    const fixed = { minimumFractionDigits: digits, maximumFractionDigits: digits, signDisplay: "negative" };
    return Number(value).toLocaleString("en-GB", fixed).replace("-", "−");
  };

  /** A difference: with its sign, and a plain 0. */
  atelier.signed = function (value, digits) {
    if (value === null || value === undefined) return "–";
    return (value > 0 && Number(value.toFixed(digits)) !== 0 ? "+" : "") + atelier.number(value, digits);
  };

  /** Decimals that leave two figures of the largest of some differences, and at least a metric's own. */
  atelier.digits = function (metric, values) {
    const largest = Math.max(...values.map((value) => Math.abs(value || 0)), 0);
    const needed = largest > 0 ? 1 - Math.floor(Math.log10(largest)) : 0;
    return Math.min(Math.max(metric.digits ?? 2, needed, 0), 8);
  };

  atelier.probability = (p) => (p === null || p === undefined ? "–" : p < 0.001 ? "< 0.001" : p.toFixed(3));

  /** Where a file of the results is: always below this folder, whatever signs its name has. */
  atelier.path = (file) => file.split("/").map(encodeURIComponent).join("/");

  atelier.plural = (count, one, many) => `${count} ${count === 1 ? one : many || one + "s"}`;
})(window.Atelier);
