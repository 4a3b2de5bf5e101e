"use strict";
/* The videos or pictures of one item: side by side, one in the place of another, or their difference. */
(function (atelier) {
  const { make, byId } = atelier;
  const GAINS = [1, 4, 16];
  const SPEEDS = [0.25, 0.5, 1, 2];
  const WITHOUT_RATE = 24; // Frames a second where a file's rate is not known.

  class Viewer {
    constructor(results, compared) {
      this.results = results;
      this.base = results.variants.find((variant) => variant.base);
      this.others = results.variants.filter((variant) => !variant.base);
      this.variant = this.others[0] || this.base;
      this.shown = this.variant;
      this.view = "side";
      this.panes = new Map();
      this.clock = null;
      this.rate = 1;
      this.loop = true;
      this.canvas = make("canvas");
      this.difference = new atelier.Difference(this.canvas);
      this._controls(compared);
    }

    get moving() {
      return this.results.kind === "videos";
    }

    _controls(compared) {
      const options = this.others.map(({ id, label }) => make("option", { value: id }, label));
      byId("variant").replaceChildren(...options);
      byId("variant").addEventListener("change", (event) => compared(event.target.value));
      byId("against").hidden = this.others.length < 2;
      byId("views").hidden = !this.others.length;
      byId("base-label").textContent = this.base.label;
      for (const button of byId("views").querySelectorAll("[data-view]")) {
        button.addEventListener("click", () => this.show(button.dataset.view));
      }
      this.pressGain = atelier.choice(
        byId("gain"),
        GAINS.map((gain) => [gain, `× ${gain}`]),
        (gain) => this.amplify(gain),
      );
      this.pressSpeed = atelier.choice(
        byId("speed"),
        SPEEDS.map((speed) => [speed, `${speed} ×`]),
        (speed) => this.speed(speed),
      );
      for (const id of ["transport", "still"]) byId(id).hidden = this.moving !== (id === "transport");
      const clicks = {
        play: () => this.toggle(),
        back: () => this.step(-1),
        forth: () => this.step(1),
        loop: () => this.repeat(),
      };
      for (const [id, act] of Object.entries(clicks)) byId(id).addEventListener("click", act);
      byId("scrubber").addEventListener("input", (event) => this.clock?.seek(Number(event.target.value)));
      for (const button of byId("viewer").querySelectorAll(".full"))
        button.addEventListener("click", () => this.full());
      this.amplify(GAINS[1]);
      this.speed(1);
    }

    /** Loads an item's files in the place of the earlier one's; keeps the view, the speed and whether it plays. */
    load(item) {
      const playing = this.clock?.playing || false;
      this.clock?.close();
      this.panes = new Map();
      const given = this.results.variants.filter((variant) => item.outputs[variant.id]);
      for (const variant of given) this.panes.set(variant.id, this._pane(variant, item.outputs[variant.id]));
      const still = make(
        "figure",
        { class: "pane", "data-pane": "difference" },
        make("figcaption", {}, "Difference"),
        this._box(this.canvas, item.outputs[given[0].id]),
      );
      byId("stage").replaceChildren(...[...this.panes.values()].map((pane) => pane.figure), still);
      this.item = item;
      this.clock = this.moving ? this._clock(given.map((variant) => this.panes.get(variant.id))) : null;
      this.show(this.view);
      if (playing) this.clock?.play();
    }

    _pane(variant, output) {
      const source = atelier.path(output.file);
      const media = this.moving
        ? make("video", { src: source, muted: true, playsinline: true, preload: "auto", disablepictureinpicture: true })
        : make("img", { src: source, alt: `${variant.label}: ${this.results.title}` });
      media.muted = true; // The attribute alone does not mute an element that a script has made.
      const box = this._box(media, output);
      media.addEventListener("error", () =>
        box.replaceChildren(make("p", { class: "broken" }, `${output.file} cannot be opened.`)),
      );
      if (!this.moving) media.addEventListener("load", () => this._compareStill());
      const figure = make(
        "figure",
        { class: "pane", "data-pane": variant.id },
        make("figcaption", {}, variant.label),
        box,
      );
      return { media, output, figure };
    }

    _box(media, { width, height }) {
      return make("div", { class: "box", style: `--width: ${Number(width)}; --height: ${Number(height)}` }, media);
    }

    _clock(panes) {
      const tracks = panes.map(({ media, output }) => ({
        video: media,
        frames: output.frames || 1,
        fps: output.fps || WITHOUT_RATE,
      }));
      const clock = new atelier.Clock(tracks, {
        changed: () => {
          if (clock !== this.clock) return;
          this._time();
          this._compareFrame();
        },
        presented: (video, frame, facts) => {
          if (this.view !== "difference") return;
          if (facts && (clock.playing || clock.placing)) this.difference.follow(video, frame, facts);
          else this.difference.keep(video, frame); // What stands is what was told, and may come after the seek's end.
        },
      });
      this.clock = clock; // Before it tells of its first frame.
      clock.loop = this.loop;
      clock.setRate(this.rate);
      clock.seek(0);
      return clock;
    }

    _time() {
      const { frame, frames, fps, playing } = this.clock;
      const seconds = atelier.number(frame / fps, 2);
      byId("scrubber").max = String(frames - 1);
      byId("scrubber").value = String(frame);
      byId("scrubber").setAttribute("aria-valuetext", `Frame ${frame + 1} of ${frames}, ${seconds} seconds`);
      byId("time").textContent = `${frame + 1} / ${frames} · ${seconds} s`;
      byId("play").setAttribute("aria-label", playing ? "Pause" : "Play");
      byId("play").classList.toggle("playing", playing);
    }

    /** "side", "one" or "difference". */
    show(view) {
      this.view = byId("stage").dataset.view = this.others.length ? view : "side";
      for (const button of byId("views").querySelectorAll("[data-view]")) {
        button.setAttribute("aria-pressed", String(button.dataset.view === this.view));
      }
      byId("swap").hidden = this.view !== "one";
      byId("gain").hidden = this.view !== "difference";
      byId("note").hidden = this.view !== "difference";
      this.pressSwap = atelier.choice(
        byId("swap"),
        [this.base, this.variant].map(({ id, label }) => [id, label]),
        (id) => this.put(id),
      );
      this.put(this.shown.id);
      if (this.view === "difference") this._compare();
    }

    /** Puts one variant on top, in place; the others go on playing below, so that it is the same moment. */
    put(id) {
      this.shown = id === this.base.id ? this.base : this.variant;
      this.pressSwap(this.shown.id);
      const wanted = { one: this.shown.id, difference: "difference" }[this.view];
      for (const figure of byId("stage").children) {
        const onTop = figure.dataset.pane === wanted;
        const seen = wanted ? onTop : figure.dataset.pane !== "difference";
        figure.classList.toggle("on", onTop);
        figure.setAttribute("aria-hidden", String(!seen));
      }
    }

    swap() {
      if (this.view === "one") this.put(this.shown === this.base ? this.variant.id : this.base.id);
      else this.show("one");
    }

    toggleDifference() {
      if (this.view === "difference") this.show(this.earlier || "side");
      else {
        this.earlier = this.view;
        this.show("difference");
      }
    }

    /** The variant that the base is compared with. */
    compare(id) {
      if (this.shown === this.variant) this.shown = this.others.find((variant) => variant.id === id);
      this.variant = this.others.find((variant) => variant.id === id);
      byId("variant").value = id;
      if (this.item) this.show(this.view);
    }

    amplify(gain) {
      this.gain = gain;
      this.pressGain(gain);
      this.canvas.style.filter = `brightness(${gain})`;
      this._note();
    }

    _note() {
      const both = `${this.base.label} and ${this.variant.label}`;
      byId("note").textContent = `What differs between ${both}, ${this.gain} times as bright. Black is equal.`;
    }

    _compare() {
      const [first, second] = [this.base, this.variant].map((variant) => this.panes.get(variant.id));
      this._note();
      if (!first || !second) return;
      this.difference.between(first.media, second.media, first.output);
      if (!this.moving) this._compareStill();
      else this._compareFrame();
    }

    /** A frame that stands is not presented anew, so it is taken as it is. */
    _compareFrame() {
      if (this.view !== "difference" || this.clock.playing || this.clock.placing) return;
      for (const { media } of this.panes.values()) this.difference.keep(media, this.clock.frame);
    }

    _compareStill() {
      if (this.view !== "difference") return;
      for (const { media } of this.panes.values()) {
        if (media.complete && media.naturalWidth) this.difference.keep(media, 0);
      }
    }

    toggle() {
      this.clock?.toggle();
    }

    step(frames) {
      this.clock?.step(frames);
    }

    seek(frame) {
      this.clock?.seek(frame);
    }

    speed(rate) {
      this.rate = rate;
      this.pressSpeed(rate);
      this.clock?.setRate(rate);
    }

    repeat() {
      this.loop = !this.loop;
      byId("loop").setAttribute("aria-pressed", String(this.loop));
      if (this.clock) this.clock.loop = this.loop;
    }

    full() {
      if (document.fullscreenElement) document.exitFullscreen();
      else byId("viewer").requestFullscreen?.();
    }
  }

  atelier.Viewer = Viewer;
})(window.Atelier);
