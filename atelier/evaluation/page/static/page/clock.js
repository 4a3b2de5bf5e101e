"use strict";
/* One clock for several videos: they start together, are nudged back where they drift, and stop on one frame. */
(function (atelier) {
  const NUDGE = 4; // Of the speed, per second of lag: a frame of 24 per second is made up for in about a second.
  const STRONGEST = 0.25;
  const APART = 1.5; // Frames from which all are gathered instead of nudged.
  const CALM = 500; // Milliseconds after a start before they are gathered again.

  /** Resolves when a video can show a frame, or never will. */
  function settled(video, event, done) {
    if (video.error || done()) return Promise.resolve();
    return new Promise((resolve) => {
      const finish = () => {
        if (!video.error && !done()) return;
        for (const name of [event, "error"]) video.removeEventListener(name, finish);
        resolve();
      };
      for (const name of [event, "error"]) video.addEventListener(name, finish);
    });
  }

  class Clock {
    /**
     * tracks: [{video, frames, fps}], the first leads; listener: {changed(), presented(video, frame, facts)}, facts as
     * requestVideoFrameCallback tells them, none in a browser without it.
     * Frames are counted from 0, at the rate of the first track.
     */
    constructor(tracks, listener) {
      this.tracks = tracks;
      this.listener = listener;
      this.fps = tracks[0].fps;
      this.frames = Math.max(...tracks.map((track) => Math.round((track.frames / track.fps) * this.fps)));
      this.frame = 0;
      this.playing = false;
      this.loop = true;
      this.rate = 1;
      this.wanted = null;
      this.placing = false;
      this.closed = false;
      tracks.forEach((track) => this._watch(track));
    }

    get leader() {
      const usable = this.tracks.filter((track) => !track.video.error);
      const length = (track) => track.frames / track.fps;
      return usable.reduce((best, track) => (length(track) > length(best) ? track : best), usable[0]);
    }

    /** Keeps the number of the frame that a video really shows, where the browser tells it. */
    _watch(track) {
      track.shown = null;
      if (!track.video.requestVideoFrameCallback) return;
      const presented = (_, facts) => {
        if (this.closed) return;
        track.shown = this._frame(facts.mediaTime + 0.5 / track.fps);
        this.listener.presented(track.video, track.shown, facts);
        track.video.requestVideoFrameCallback(presented);
      };
      track.video.requestVideoFrameCallback(presented);
    }

    _frame(seconds) {
      return Math.min(Math.max(Math.floor(seconds * this.fps), 0), this.frames - 1);
    }

    close() {
      this.closed = true;
      this.playing = false;
      for (const { video } of this.tracks) {
        video.pause();
        video.removeAttribute("src"); // Else its decoder and buffers stay until the next garbage collection.
        video.load();
      }
    }

    play() {
      if (this.playing || !this.leader) return;
      this.playing = true;
      this.seek(this.frame >= this.frames - 1 ? 0 : this.frame);
    }

    /** Stops all on the frame that the leading video shows. */
    pause() {
      if (!this.playing) return;
      this.playing = false;
      const leader = this.leader;
      if (leader && !this.placing) this.frame = leader.shown ?? this._frame(leader.video.currentTime);
      this.seek(this.frame);
    }

    toggle() {
      if (this.playing) this.pause();
      else this.play();
    }

    step(frames) {
      this.pause();
      this.seek(this.frame + frames);
    }

    setRate(rate) {
      this.rate = rate;
      for (const { video } of this.tracks) video.playbackRate = rate;
    }

    /** Shows a frame on all videos; goes on playing from it where they play. The newest of many wishes wins. */
    seek(frame) {
      this.frame = this.wanted = Math.min(Math.max(frame, 0), this.frames - 1);
      if (!this.placing) this._place();
      this.listener.changed();
    }

    async _place() {
      this.placing = true;
      for (const { video } of this.tracks) video.pause();
      while (this.wanted !== null && !this.closed) {
        const frame = this.wanted;
        this.wanted = null;
        await Promise.all(this.tracks.map((track) => this._at(track, frame)));
      }
      this.placing = false;
      if (this.closed) return;
      for (const track of this.tracks) {
        if (track.shown !== null) track.shown = this.frame; // Told later only; a pause before that stops here, too.
      }
      this.listener.changed();
      if (this.playing) this._start();
    }

    /** One video on the middle of a frame's time, so that rounding never shows its neighbour. */
    async _at({ video, frames, fps }, frame) {
      await settled(video, "loadedmetadata", () => video.readyState >= 1);
      if (video.error || this.closed) return;
      const time = Math.min((frame + 0.5) / this.fps, (frames - 0.5) / fps);
      if (Math.abs(video.currentTime - time) < 1e-4 && !video.seeking) return;
      video.currentTime = time;
      await settled(video, "seeked", () => this.closed || !video.seeking);
    }

    async _start() {
      const usable = this.tracks.filter(({ video }) => !video.error);
      await Promise.all(
        usable.map(({ video }) => settled(video, "canplay", () => this.closed || video.readyState >= 3)),
      );
      if (this.closed || !this.playing || this.placing) return;
      for (const { video } of usable) {
        video.playbackRate = this.rate;
        video.play().catch(() => {}); // Refused where a pause follows at once, which is no error.
      }
      this.started = performance.now();
      const ticks = (this.ticks = {}); // A later start's ticks take the place of these.
      const tick = () => {
        if (this.closed || !this.playing || this.placing || this.ticks !== ticks) return;
        this._tick();
        requestAnimationFrame(tick);
      };
      requestAnimationFrame(tick);
    }

    _tick() {
      const leader = this.leader;
      if (!leader || leader.video.ended) {
        this._end();
        return;
      }
      this.frame = leader.shown ?? this._frame(leader.video.currentTime);
      if (leader.shown === null) this._presentAll();
      this.listener.changed();
      if (this._follow(leader)) this.seek(this.frame);
    }

    /** Nudges those that lag or lead; true where one is so far off that all must be gathered. */
    _follow(leader) {
      let apart = false;
      for (const { video } of this.tracks) {
        if (video === leader.video || video.error || video.ended) continue;
        const lag = leader.video.currentTime - video.currentTime;
        const nudge = Math.abs(lag * this.fps) < 0.05 ? 0 : Math.max(-STRONGEST, Math.min(STRONGEST, lag * NUDGE));
        const rate = this.rate * (1 + nudge);
        if (Math.abs(video.playbackRate - rate) > 0.01 * this.rate || !nudge) video.playbackRate = rate;
        apart ||= Math.abs(lag * this.fps) > APART;
      }
      return apart && performance.now() - this.started > CALM;
    }

    /** For browsers that do not tell which frame they show. */
    _presentAll() {
      for (const { video } of this.tracks) this.listener.presented(video, this._frame(video.currentTime));
    }

    _end() {
      if (!this.loop || !this.leader) this.playing = false;
      this.seek(this.playing ? 0 : this.frames - 1);
    }
  }

  atelier.Clock = Clock;
})(window.Atelier);
