"use strict";
/* The absolute difference of two videos or pictures, on a canvas. Pixels are never read back: a page opened from disk
   may not. The canvas itself subtracts, and a filter of the style amplifies. */
(function (atelier) {
  class Difference {
    constructor(canvas) {
      this.canvas = canvas;
      this.sides = [0, 1].map(() => ({ source: null, frame: null, kept: document.createElement("canvas") }));
    }

    /** Compares two sources from now on, on an empty canvas; size: of the first, in pixels. */
    between(first, second, { width, height }) {
      [first, second].forEach((source, index) => Object.assign(this.sides[index], { source, frame: null }));
      for (const canvas of [this.canvas, ...this.sides.map((side) => side.kept)]) {
        Object.assign(canvas, { width, height });
      }
    }

    /** Keeps a source's frame. Only frames of one number are subtracted, so that a lag is never taken for a change. */
    keep(source, frame) {
      for (const side of this.sides) {
        if (side.source !== source) continue;
        side.frame = frame;
        side.kept.getContext("2d").drawImage(source, 0, 0, side.kept.width, side.kept.height);
      }
      const [first, second] = this.sides;
      if (first.frame !== null && first.frame === second.frame) this._subtract();
    }

    _subtract() {
      const context = this.canvas.getContext("2d");
      context.globalCompositeOperation = "copy";
      context.drawImage(this.sides[0].kept, 0, 0);
      context.globalCompositeOperation = "difference";
      context.drawImage(this.sides[1].kept, 0, 0);
    }
  }

  atelier.Difference = Difference;
})(window.Atelier);
