"use strict";
// The player of a report and of `fxst ui`. All its tracks start together, each through its own gain, so that switching
// changes two gains: no gap, no seeking, no drift.
const { Player, clock } = (() => {
  const RAMP = 0.01; // seconds; fast, but without a click
  const AHEAD = 0.03; // seconds of latency, so that all tracks start at the same instant
  const STEP = 1; // seconds that an arrow key moves
  let context = null;
  let current = null; // only one player plays at a time

  const clock = (seconds) => {
    const tenths = Math.round(seconds * 10);
    return `${Math.floor(tenths / 600)}:${String(Math.floor(tenths / 10) % 60).padStart(2, "0")}.${tenths % 10}`;
  };

  const bytes = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0)).buffer;

  const ramp = (gain, value) => {
    const now = context.currentTime;
    gain.cancelScheduledValues(now);
    gain.setValueAtTime(gain.value, now);
    gain.linearRampToValueAtTime(value, now + RAMP);
  };

  class Player {
    constructor(entry) {
      this.entry = entry;
      this.box = entry.querySelector(".player");
      this.tracks = [...this.box.querySelectorAll(".track")];
      this.encoded = [...this.box.querySelectorAll(".sound")];
      this.button = this.box.querySelector(".play");
      this.slider = this.box.querySelector(".seek");
      this.time = this.box.querySelector(".time");
      this.repeat = this.box.querySelector(".loop");
      this.match = this.box.querySelector(".match");
      this.trouble = this.box.querySelector(".trouble");
      this.playheads = [...entry.querySelectorAll(".playhead")];
      this.track = this.tracks.findIndex((track) => track.getAttribute("aria-pressed") === "true");
      this.at = 0; // position while stopped
      this.playing = false; // requested; `voices` is what plays
      this.voices = null;
      this.buffers = null;

      this.tracks.forEach((track, index) => track.addEventListener("click", () => this.choose(index)));
      this.button.addEventListener("click", () => this.toggle());
      this.slider.addEventListener("input", () => this.seek(Number(this.slider.value)));
      this.repeat.addEventListener("click", () => this.flip(this.repeat));
      this.match.addEventListener("click", () => {
        this.flip(this.match);
        this.settle();
      });
      entry.addEventListener("keydown", (event) => this.key(event));
      this.draw();
    }

    flip(option) {
      option.setAttribute("aria-pressed", String(option.getAttribute("aria-pressed") !== "true"));
    }

    level(index) {
      return this.match.getAttribute("aria-pressed") === "true" ? Number(this.tracks[index].dataset.matched) : 1;
    }

    settle() {
      if (this.voices) ramp(this.voices.tracks[this.track].gain.gain, this.level(this.track));
    }

    length(index = this.track) {
      return Number(this.tracks[index].dataset.seconds);
    }

    get position() {
      if (!this.voices) return this.at;
      const { zero, from, region } = this.voices;
      const at = Math.max(context.currentTime - zero, from);
      if (region && at > region[1]) return region[0] + ((at - region[0]) % (region[1] - region[0]));
      return Math.min(at, this.length());
    }

    // Begin and end of what the tracks themselves repeat, without a gap; null where they play to the end.
    get region() {
      return null;
    }

    open() {
      return new AudioContext();
    }

    load() {
      return Promise.all(this.encoded.map((sound) => context.decodeAudioData(bytes(sound.textContent))));
    }

    toggle() {
      if (this.playing) this.pause();
      else this.play();
    }

    async play() {
      if (current && current !== this) current.release();
      current = this;
      this.playing = true;
      this.draw();
      try {
        context = context || this.open();
        context.resume(); // at once: browsers allow it only within a click
        this.buffers = this.buffers || (await this.load());
      } catch (problem) {
        this.playing = false;
        this.trouble.textContent =
          "This browser cannot decode the sound of this page, which is MP3. " +
          "Current versions of Firefox, Chromium and Safari can; figures and curves are not affected.";
        this.trouble.hidden = false;
        this.draw();
        return;
      }
      if (this.playing && !this.voices) this.sound();
    }

    pause() {
      this.at = this.position;
      this.playing = false;
      this.silence();
      this.draw();
    }

    release() {
      this.pause();
      this.buffers = null; // decoded audio is large, and quickly decoded again
    }

    sound() {
      const region = this.region;
      if (this.at >= this.length() - RAMP) this.at = 0;
      if (region && (this.at < region[0] || this.at >= region[1])) this.at = region[0];
      const start = context.currentTime + AHEAD;
      const from = this.at;
      const master = context.createGain();
      master.gain.setValueAtTime(0, start);
      master.gain.linearRampToValueAtTime(1, start + RAMP);
      master.connect(context.destination);
      this.voices = { tracks: [], master, region, from, zero: start - from };
      this.buffers.forEach((buffer, index) => this.voices.tracks.push(this.voice(buffer, index, start, from)));
      this.frame();
    }

    voice(buffer, index, start, from) {
      const { master, region } = this.voices;
      const source = context.createBufferSource();
      const gain = context.createGain();
      source.buffer = buffer;
      gain.gain.value = index === this.track ? this.level(index) : 0;
      source.connect(gain).connect(master);
      if (region) {
        source.loop = true;
        [source.loopStart, source.loopEnd] = region;
        source.start(start, from);
      } else {
        // Decoders may keep MP3's padding; the page has the exact length.
        source.start(start, Math.min(from, buffer.duration), Math.max(0, this.length(index) - from));
      }
      return { source, gain };
    }

    // Play another sound as a track, from the same position on.
    replace(index, buffer) {
      this.buffers[index] = buffer;
      if (!this.voices) return;
      const { tracks, region } = this.voices;
      const start = context.currentTime + AHEAD;
      let from = this.position + AHEAD;
      if (region && from > region[1]) from -= region[1] - region[0];
      const before = tracks[index];
      tracks[index] = this.voice(buffer, index, start, Math.min(from, buffer.duration));
      const level = tracks[index].gain.gain.value;
      tracks[index].gain.gain.setValueAtTime(0, start);
      tracks[index].gain.gain.linearRampToValueAtTime(level, start + RAMP);
      before.gain.gain.setValueAtTime(before.gain.gain.value, start);
      before.gain.gain.linearRampToValueAtTime(0, start + RAMP);
      before.source.stop(start + 2 * RAMP);
    }

    silence() {
      if (!this.voices) return;
      const { tracks, master } = this.voices;
      ramp(master.gain, 0);
      for (const { source } of tracks) source.stop(context.currentTime + 2 * RAMP);
      this.voices = null;
    }

    frame() {
      const voices = this.voices;
      if (!voices) return;
      if (!voices.region && this.position >= this.length()) {
        this.ended();
        return;
      }
      this.draw();
      // A page in the background draws no frames, but a track ends there too.
      const again = () => {
        clearTimeout(timer);
        cancelAnimationFrame(request);
        if (this.voices === voices) this.frame();
      };
      const timer = setTimeout(again, 200);
      const request = requestAnimationFrame(again);
    }

    ended() {
      this.silence();
      this.at = 0;
      if (this.repeat.getAttribute("aria-pressed") === "true") this.sound();
      else this.playing = false;
      this.draw();
    }

    seek(seconds) {
      this.move(Math.min(Math.max(seconds, 0), this.length()));
    }

    move(seconds) {
      const wasPlaying = this.voices !== null;
      this.silence();
      this.at = seconds;
      if (wasPlaying) this.sound();
      this.draw();
    }

    choose(index) {
      if (index === this.track) return;
      const position = this.position;
      const before = this.track;
      this.track = index;
      this.tracks.forEach((track, other) => track.setAttribute("aria-pressed", String(other === index)));
      if (position > this.length()) {
        // The time is past the end of this track: its end while paused, its beginning while playing.
        this.move(this.length());
      } else if (this.voices) {
        ramp(this.voices.tracks[before].gain.gain, 0);
        ramp(this.voices.tracks[index].gain.gain, this.level(index));
      }
      this.draw();
    }

    key(event) {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      const on = event.target;
      const digit = /^[1-9]$/.test(event.key) ? Number(event.key) : 0;
      if (event.key === "k" || event.key === "K") this.toggle();
      else if (event.key === " ") {
        // The space bar presses a focused button. The current track's button has no effect, so there it toggles playback.
        const idle = on === this.tracks[this.track];
        if (on.closest("button, summary, a") && !idle) return;
        this.toggle();
      } else if (digit && digit <= this.tracks.length) this.choose(digit - 1);
      else if ((event.key === "ArrowLeft" || event.key === "ArrowRight") && !on.closest(".scroll")) {
        this.seek(this.position + (event.key === "ArrowLeft" ? -STEP : STEP));
      } else return;
      event.preventDefault();
    }

    draw() {
      const position = this.position;
      const length = this.length();
      this.box.classList.toggle("playing", this.playing);
      this.button.setAttribute("aria-label", this.playing ? "Pause" : "Play");
      this.slider.max = length;
      this.slider.value = position;
      this.time.textContent = `${clock(position)} / ${clock(length)}`;
      // In whole seconds, as a screen reader reads every change.
      const spoken = `${Math.floor(position)} of ${Math.round(length)} seconds`;
      if (this.slider.getAttribute("aria-valuetext") !== spoken) this.slider.setAttribute("aria-valuetext", spoken);
      const shared = this.tracks[this.track].dataset.role !== "reference";
      for (const line of this.playheads) {
        const { left, width, seconds } = line.dataset;
        const x = Number(left) + (Math.min(position, Number(seconds)) / Number(seconds)) * Number(width);
        line.setAttribute("x1", x);
        line.setAttribute("x2", x);
        line.setAttribute("visibility", shared && (this.playing || position > 0) ? "visible" : "hidden");
      }
    }
  }

  return { Player, clock };
})();
