"use strict";
/* The absolute difference of two videos or pictures, on a canvas. Pixels are never read back: a page opened from disk
   may not. The canvas itself subtracts, and a filter of the style amplifies. */
(function (atelier) {
  class Difference {
    constructor(canvas) {
      this.canvas = canvas;
      const empty = () => document.createElement("canvas");
      this.sides = [0, 1].map(() => ({ source: null, frame: null, kept: empty(), drawn: empty(), last: null }));
    }

    /** Compares two sources from now on, on an empty canvas; size: of the first, in pixels. */
    between(first, second, { width, height }) {
      [first, second].forEach((source, index) => Object.assign(this.sides[index], { source, frame: null, last: null }));
      for (const canvas of [this.canvas, ...this.sides.flatMap((side) => [side.kept, side.drawn])]) {
        Object.assign(canvas, { width, height });
      }
    }

    /** Keeps the frame on which a source stands. */
    keep(source, frame) {
      for (const side of this.sides.filter((one) => one.source === source)) {
        side.last = null;
        this._draw(source, side.kept);
        this._take(side, frame);
      }
    }

    /**
     * Keeps a frame of a playing video, by what requestVideoFrameCallback tells. What is drawn then may already be the
     * frame after the one that was told (one in fifty, in Chromium), so each is taken with the next callback only: where
     * that is of the very next frame, and this one was presented after the drawing.
     */
    follow(source, frame, { presentedFrames, presentationTime }) {
      for (const side of this.sides.filter((one) => one.source === source)) {
        const { last } = side;
        if (last && presentedFrames === last.count + 1 && presentationTime > last.time) {
          [side.kept, side.drawn] = [side.drawn, side.kept];
          this._take(side, last.frame);
        }
        this._draw(source, side.drawn);
        side.last = { frame, count: presentedFrames, time: performance.now() };
      }
    }

    _draw(source, canvas) {
      canvas.getContext("2d").drawImage(source, 0, 0, canvas.width, canvas.height);
    }

    /** Only frames of one number are subtracted, so that a lag is never taken for a change. */
    _take(side, frame) {
      side.frame = frame;
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
