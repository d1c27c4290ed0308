"use strict";
// The page of `fxst ui`. The server renders; this script asks, plays and draws. Texts from files are set as text only.
(() => {
  const ROLES = ["input", "output", "reference"];
  const STYLES = { input: "input", output: "output1", reference: "reference1" };
  const QUIET_MS = 700; // without a change, before the whole recording is rendered
  const LONGEST_WRITTEN_UNASKED = 900; // seconds
  const SVG = "http://www.w3.org/2000/svg";
  const $ = (id) => document.getElementById(id);
  const clone = (value) => JSON.parse(JSON.stringify(value));
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  const plain = (value) => String(Number(value.toPrecision(4)));
  const signed = (value) => `${value < 0 ? "\u2212" : "+"}${Math.abs(value).toFixed(1)}`;

  const drawn = (name, attributes, parent, text) => {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    if (parent) parent.append(element);
    return element;
  };
  const made = (name, attributes, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };

  // Requests

  let tab = null;
  const base = () => `tabs/${tab}`;

  const answered = async (path, options = {}) => {
    let answer;
    try {
      answer = await fetch(path, options);
    } catch {
      throw new Error("The server does not answer: run `fxst ui` again and open the address that it prints.");
    }
    if (answer.ok) return answer;
    const said = await answer.json().catch(() => ({}));
    throw new Error(said.error || "The server failed unexpectedly: see the terminal.");
  };
  const ask = async (path, body) =>
    (await answered(`${base()}/${path}`, { method: "POST", body: JSON.stringify(body || {}) })).json();
  const get = async (path) => (await answered(`${base()}/${path}`)).json();

  const complain = (problem, where = "") => {
    $("problem").textContent = problem ? problem.message || String(problem) : "";
    $("problem").dataset.where = problem ? where : "";
    $("problem").hidden = !problem;
  };
  const say = (words) => ($("status").textContent = words);

  // What the page knows

  const files = { input: null, references: [] };
  let effects = []; // as the server described them last
  let shown = {}; // the values that are heard: {effect: {parameter: value}}
  let choice = null; // the settings that the model chose
  let settings = null;
  let past = [];
  let future = [];
  let gesture = null; // one movement is undone at once
  let slot = "a";
  let slots = {};
  let start = null; // of the excerpt; null for the loudest
  let played = null; // the key of the reference that is heard; null for the first
  let excerpt = { start: 0, seconds: 0 };
  let version = 0;
  let unmeasured = false; // whether the meters and spectra are of other recordings
  let failure = null; // why the present settings could not be rendered
  let written = null; // what the whole recording measures, with the settings of `version`

  // The player

  class Excerpts extends Player {
    constructor(entry) {
      super(entry);
      this.sounds = {};
      this.loop = null;
      addEventListener("keydown", (event) => {
        if (!entry.contains(event.target)) this.key(event);
      });
    }

    open() {
      const rate = this.sounds.input.sampleRate;
      try {
        return new AudioContext({ sampleRate: rate }); // so that samples are played as they are
      } catch {
        return new AudioContext();
      }
    }

    async load() {
      return ROLES.map((role) => this.sounds[role]);
    }

    get region() {
      if (this.repeat.getAttribute("aria-pressed") !== "true" || !this.length()) return null;
      return this.loop || [0, this.length()];
    }

    flip(option) {
      super.flip(option);
      if (option === this.repeat) this.again();
    }

    again() {
      if (this.voices) this.move(this.position);
      else this.draw();
    }

    take(role, buffer) {
      this.sounds[role] = buffer;
      for (const track of this.tracks) track.dataset.seconds = this.sounds.input.duration;
      if (this.buffers) this.replace(ROLES.indexOf(role), buffer);
      this.draw();
    }

    levels(lufs) {
      const known = ROLES.filter((role) => lufs[role] !== null && lufs[role] !== undefined);
      const quietest = Math.min(...known.map((role) => lufs[role]));
      const words = [];
      this.tracks.forEach((track, index) => {
        const down = known.includes(ROLES[index]) ? lufs[ROLES[index]] - quietest : 0;
        track.dataset.matched = 10 ** (-down / 20);
        if (known.includes(ROLES[index])) words.push(`${ROLES[index]} ${down < 0.05 ? "as it is" : `${signed(-down)} dB`}`);
      });
      $("matched").textContent = words.length ? `Same loudness takes: ${words.join(", ")}.` : "";
      this.settle();
    }

    key(event) {
      const on = event.target;
      if (event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey) return;
      if (on.matches("select, input[type=number], input[type=text]")) return;
      if (on.matches("input[type=range]:not(.seek), .band") && event.key.startsWith("Arrow")) return;
      if (event.key === "l" || event.key === "L") {
        this.flip(this.repeat);
        event.preventDefault();
      } else if ($("work").hidden === false) super.key(event);
    }

    choose(index) {
      if (!this.tracks[index].disabled) super.choose(index);
    }

    draw() {
      super.draw();
      const line = document.querySelector("#excerpt .playhead");
      if (!line || !this.length()) return;
      const x = (this.position / this.length()) * line.ownerSVGElement.clientWidth;
      line.setAttribute("x1", x);
      line.setAttribute("x2", x);
    }
  }

  const player = new Excerpts($("listen"));

  const sound = async (role) => {
    const answer = await answered(`${base()}/sounds/${role}`);
    const channels = Number(answer.headers.get("x-channels"));
    const samples = new Float32Array(await answer.arrayBuffer());
    const length = samples.length / channels;
    const sampleRate = Number(answer.headers.get("x-sample-rate"));
    const buffer = new AudioBuffer({ length, numberOfChannels: channels, sampleRate });
    for (let channel = 0; channel < channels; channel++)
      buffer.copyToChannel(samples.subarray(channel * length, (channel + 1) * length), channel);
    return buffer;
  };

  // Waveforms

  const outlines = {}; // of the whole recordings
  const lanes = (svg, pairs) => {
    const width = svg.clientWidth;
    const height = svg.clientHeight / ROLES.length;
    const peak = Math.max(0.05, ...ROLES.flatMap((role) => (pairs[role] || []).map(([low, high]) => Math.max(-low, high))));
    svg.setAttribute("viewBox", `0 0 ${width} ${svg.clientHeight}`);
    svg.replaceChildren();
    ROLES.forEach((role, lane) => {
      const middle = (lane + 0.5) * height;
      const scale = (0.46 * height) / peak;
      const points = pairs[role] || [];
      const across = (index) => ((index / Math.max(1, points.length - 1)) * width).toFixed(1);
      const top = points.map(([, high], index) => `${across(index)} ${(middle - scale * high).toFixed(1)}`);
      const bottom = points.map(([low], index) => `${across(index)} ${(middle - scale * low).toFixed(1)}`).reverse();
      if (points.length) drawn("path", { class: `area ${STYLES[role]}`, d: `M${[...top, ...bottom].join("L")}Z` }, svg);
      drawn("path", { class: "grid", d: `M0 ${middle}H${width}` }, svg);
      drawn("text", { x: 4, y: lane * height + 12 }, svg, role);
    });
    return width;
  };

  const drawWhole = () => {
    const svg = $("whole");
    const width = lanes(svg, outlines);
    if (!files.input) return;
    const { seconds } = files.input;
    drawn(
      "rect",
      {
        class: "window", x: (excerpt.start / seconds) * width, y: 1, height: (svg.clientHeight * 2) / 3 - 2,
        width: Math.max(2, (excerpt.seconds / seconds) * width),
      },
      svg,
    );
  };

  const pairsOf = (buffer, count) => {
    const channels = Array.from({ length: buffer.numberOfChannels }, (_, channel) => buffer.getChannelData(channel));
    const step = buffer.length / count;
    return Array.from({ length: count }, (_, index) => {
      let [low, high] = [0, 0];
      for (const samples of channels)
        for (let at = Math.floor(index * step); at < Math.min((index + 1) * step, samples.length); at++) {
          if (samples[at] < low) low = samples[at];
          if (samples[at] > high) high = samples[at];
        }
      return [low, high];
    });
  };

  const drawExcerpt = () => {
    const svg = $("excerpt");
    const count = Math.max(50, Math.floor(svg.clientWidth / 2));
    const pairs = {};
    for (const role of ROLES) if (player.sounds[role]) pairs[role] = pairsOf(player.sounds[role], count);
    const width = lanes(svg, pairs);
    drawn("rect", { class: "window loop-window", y: 1, height: svg.clientHeight - 2 }, svg);
    drawn("line", { class: "playhead", y1: 0, y2: svg.clientHeight }, svg);
    drawLoop(width);
    player.draw();
  };

  const drawLoop = (width = $("excerpt").clientWidth) => {
    const length = player.length() || 1;
    const [from, to] = player.loop || [0, length];
    const box = document.querySelector("#excerpt .loop-window");
    if (box) {
      box.setAttribute("x", (from / length) * width);
      box.setAttribute("width", Math.max(1, ((to - from) / length) * width));
      box.setAttribute("visibility", player.loop ? "visible" : "hidden");
    }
    if (document.activeElement !== $("loop-from")) $("loop-from").value = from.toFixed(2);
    if (document.activeElement !== $("loop-to")) $("loop-to").value = to.toFixed(2);
  };

  const setLoop = (from, to) => {
    const length = player.length();
    player.loop = to - from < 0.05 ? null : [clamp(from, 0, length), clamp(to, 0, length)];
    if (player.loop && player.repeat.getAttribute("aria-pressed") !== "true") Player.prototype.flip.call(player, player.repeat);
    drawLoop();
    player.again();
  };

  const dragged = (svg, move, end) => {
    svg.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      const at = (one) => clamp((one.clientX - svg.getBoundingClientRect().left) / svg.clientWidth, 0, 1);
      const first = at(event);
      svg.setPointerCapture(event.pointerId);
      const moved = (one) => move(first, at(one));
      const ended = (one) => {
        svg.removeEventListener("pointermove", moved);
        svg.removeEventListener("pointerup", ended);
        svg.removeEventListener("pointercancel", ended);
        end(first, at(one));
      };
      svg.addEventListener("pointermove", moved);
      svg.addEventListener("pointerup", ended);
      svg.addEventListener("pointercancel", ended);
    });
  };
  dragged(
    $("excerpt"),
    (first, last) => {
      const length = player.length();
      player.loop = [Math.min(first, last) * length, Math.max(first, last) * length];
      drawLoop();
    },
    (first, last) => {
      const length = player.length();
      if (Math.abs(last - first) * $("excerpt").clientWidth < 5) {
        player.loop = null;
        drawLoop();
        player.seek(last * length);
      } else setLoop(Math.min(first, last) * length, Math.max(first, last) * length);
    },
  );
  dragged($("whole"), () => {}, (_, last) => moveTo(last * files.input.seconds - excerpt.seconds / 2));
  const moveTo = (seconds) => {
    start = seconds === null ? null : clamp(seconds, 0, Math.max(0, files.input.seconds - excerpt.seconds));
    player.loop = null;
    schedule();
  };
  $("start").addEventListener("change", () => moveTo(Number($("start").value)));
  $("loudest").addEventListener("click", () => moveTo(null));
  for (const id of ["loop-from", "loop-to"])
    $(id).addEventListener("change", () => setLoop(Number($("loop-from").value), Number($("loop-to").value)));
  $("loop-all").addEventListener("click", () => {
    player.loop = null;
    drawLoop();
    player.again();
  });

  // Meters and charts

  const showFigures = (role, figures) => {
    const cells = document.querySelectorAll(`#meters tr[data-role="${role}"] td`);
    ["loudness", "range", "true_peak", "crest"].forEach((name, index) => {
      const value = figures && figures[name];
      cells[index].textContent = typeof value === "number" ? value.toFixed(1).replace("-", "\u2212") : "\u2013";
    });
  };

  const showChart = async (kind) => {
    const { html } = await get(`charts/${kind}`);
    $(kind).innerHTML = html; // from the server's template, which escapes what it inserts
    player.playheads = [...document.querySelectorAll("#reduction .playhead")];
    player.draw();
  };

  // Settings

  const edit = (key, change) => {
    if (key === null || gesture !== key) {
      past.push(clone(settings));
      future = [];
    }
    gesture = key;
    change(settings);
    refresh();
    schedule();
  };
  const settle = () => (gesture = null);

  const setValue = (effect, values, key) => {
    Object.assign(shown[effect], values);
    edit(key, (now) => {
      if ((now.amounts[effect] ?? 1) !== 1) {
        now.values[effect] = clone(shown[effect]); // what is heard becomes the whole amount
        now.amounts[effect] = 1;
      }
      Object.assign(now.values[effect], values);
      now.bypassed = now.bypassed.filter((label) => label !== effect);
    });
  };

  const restore = (kept) => {
    settings = clone(kept);
    gesture = null;
    shown = clone(settings.values);
    refresh();
    schedule();
  };
  const undo = () => {
    if (!past.length) return;
    future.push(clone(settings));
    restore(past.pop());
  };
  const redo = () => {
    if (!future.length) return;
    past.push(clone(settings));
    restore(future.pop());
  };
  const compare = (other) => {
    if (other === slot) return;
    slots[slot] = { settings: clone(settings), past, future };
    slot = other;
    const kept = slots[other] || { settings: clone(settings), past: [], future: [] };
    ({ past, future } = kept);
    restore(kept.settings);
  };
  $("undo").addEventListener("click", undo);
  $("redo").addEventListener("click", redo);
  $("reset").addEventListener("click", () => {
    past.push(clone(settings));
    future = [];
    restore(choice);
  });
  $("slot-a").addEventListener("click", () => compare("a"));
  $("slot-b").addEventListener("click", () => compare("b"));
  addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z" || event.target.matches("input[type=text]")) return;
    if (event.shiftKey) redo();
    else undo();
    event.preventDefault();
  });

  $("amount").addEventListener("input", () =>
    edit("amount", (now) => {
      now.amount = Number($("amount").value) / 100;
      for (const effect of effects) if (effect.scalable) now.amounts[effect.label] = now.amount;
    }),
  );
  $("amount").addEventListener("change", settle);
  const levelEdited = () =>
    edit(null, (now) => {
      const loudness = $("loudness").value;
      now.loudness = loudness === "number" ? $("lufs").value || "-16" : loudness || null;
      now.ceiling = $("ceiling").value === "none" ? "none" : $("dbtp").value || "-1";
    });
  for (const id of ["loudness", "lufs", "ceiling", "dbtp"]) $(id).addEventListener("change", levelEdited);

  // A parameter on its slider, from 0 to 1; the slider reaches to a value beyond the chain's range
  const scale = (parameter) => {
    const value = parameter.value;
    const low = Math.min(parameter.minimum, value);
    const high = Math.max(parameter.maximum, value);
    const log = parameter.scale === "log" && low > 0;
    return {
      low, high,
      to: (v) => (high === low ? 0 : log ? Math.log(v / low) / Math.log(high / low) : (v - low) / (high - low)),
      from: (knob) => (log ? low * (high / low) ** knob : low + knob * (high - low)),
    };
  };
  const words = (name) => name.replace(/_(db|hz|ms)$/, "").replace(/^([a-z]+_?[a-z]*\d*)_(gain|f0|q)$/, "$1 $2").replaceAll("_", " ");

  let controls = []; // functions that show the present values
  const knob = (effect, parameter) => {
    const id = `knob-${effect.label}-${parameter.name}`;
    const range = made("input", { type: "range", id, min: 0, max: 1000, step: 1 });
    const number = made("input", { type: "number", step: "any", "aria-label": `${words(effect.label)}: ${words(parameter.name)}` });
    const unit = parameter.unit ? ` ${parameter.unit}` : "";
    const of = () => scale({ ...parameter, value: shown[effect.label][parameter.name] });
    range.addEventListener("input", () =>
      setValue(effect.label, { [parameter.name]: of().from(range.value / 1000) }, id),
    );
    range.addEventListener("change", settle);
    number.addEventListener("change", () => {
      const value = Number(number.value);
      if (number.value !== "" && Number.isFinite(value))
        setValue(effect.label, { [parameter.name]: clamp(value, of().low, of().high) }, null);
    });
    controls.push(() => {
      const value = shown[effect.label][parameter.name];
      if (gesture !== id) range.value = Math.round(1000 * of().to(value));
      range.setAttribute("aria-valuetext", `${plain(value)}${unit}`);
      if (document.activeElement !== number) number.value = plain(value);
    });
    return made(
      "div", { class: "knob" },
      made("label", { for: id }, words(parameter.name)), range, made("span", { class: "value" }, number, unit),
    );
  };

  const panel = (effect) => {
    const bypass = made("button", { type: "button", class: "option bypass", "aria-pressed": "false" }, "Bypass");
    bypass.addEventListener("click", () =>
      edit(null, (now) => {
        const off = now.bypassed.includes(effect.label);
        now.bypassed = off ? now.bypassed.filter((label) => label !== effect.label) : [...now.bypassed, effect.label];
      }),
    );
    const tools = made("div", { class: "tools" }, bypass);
    if (effect.probability !== null) {
      tools.append(made("span", { class: "note" }, `the model: ${Math.round(100 * effect.probability)} % sure that it is needed`));
    }
    if (effect.stereo_only) tools.append(made("span", { class: "note" }, "changes only recordings of two channels"));
    const box = made(
      "fieldset", { class: "panel", "data-effect": effect.label },
      made("legend", {}, words(effect.label)), tools,
    );
    controls.push(() => {
      const off = settings.bypassed.includes(effect.label);
      bypass.setAttribute("aria-pressed", String(off));
      box.classList.toggle("off", off);
    });
    if (effect.scalable) {
      const id = `amount-${effect.label}`;
      const range = made("input", { type: "range", id, min: 0, max: 150, step: 1 });
      const output = made("output", { for: id });
      range.addEventListener("input", () => edit(id, (now) => (now.amounts[effect.label] = range.value / 100)));
      range.addEventListener("change", settle);
      controls.push(() => {
        const percent = Math.round(100 * (settings.amounts[effect.label] ?? 1));
        range.value = percent;
        output.textContent = `${percent} %`;
      });
      box.append(made("div", { class: "knob" }, made("label", { for: id }, "amount"), range, output));
    }
    const knobs = effect.parameters.filter((parameter) => parameter.minimum !== parameter.maximum);
    if (effect.bands.length) {
      box.append(equaliser(effect));
      const details = made("details", {}, made("summary", {}, "All bands as knobs"));
      details.append(...knobs.map((parameter) => knob(effect, parameter)));
      box.append(details);
    } else box.append(...knobs.map((parameter) => knob(effect, parameter)));
    return box;
  };

  // The equaliser's curve: magnitudes of the bands as fxst.effects.parametric_eq designs them

  const bandDb = (kind, gain, f0, q, hz, rate) => {
    const a = 10 ** (gain / 40);
    const k = Math.tan(Math.PI * Math.min(f0 / rate, 0.49));
    const damping = (k * Math.sqrt(a)) / q;
    const [numerator, denominator] =
      kind === "peak"
        ? [[k * k, (k * a) / q, 1], [k * k, k / (a * q), 1]]
        : kind === "low_shelf"
          ? [[a * a * k * k, a * damping, a], [k * k, damping, a]]
          : [[a * k * k, a * damping, a * a], [a * k * k, damping, 1]];
    const s = Math.tan((Math.PI * hz) / rate);
    const power = ([c0, c1, c2]) => (c0 - c2 * s * s) ** 2 + (c1 * s) ** 2;
    return 10 * Math.log10(power(numerator) / power(denominator));
  };

  const equaliser = (effect) => {
    const label = effect.label;
    const svg = drawn("svg", { class: "plot equaliser", role: "group", "aria-label": `${words(label)}: curve and bands` });
    const LEFT = 34, RIGHT = 8, TOP = 8, BOTTOM = 22, LOW = 20, HIGH = 20000;
    const ranges = Object.fromEntries(effect.parameters.map((parameter) => [parameter.name, parameter]));
    const grid = drawn("g", {}, svg);
    const singles = drawn("path", { class: "single" }, svg);
    const curve = drawn("path", { class: "curve output1" }, svg);
    let [width, height, extent, held] = [0, 0, 12, null];
    const x = (hz) => LEFT + (Math.log(hz / LOW) / Math.log(HIGH / LOW)) * (width - LEFT - RIGHT);
    const y = (db) => TOP + ((extent - db) / (2 * extent)) * (height - TOP - BOTTOM);
    const hzAt = (px) => LOW * (HIGH / LOW) ** ((px - LEFT) / (width - LEFT - RIGHT));
    const dbAt = (px) => extent - ((px - TOP) / (height - TOP - BOTTOM)) * 2 * extent;
    const value = (band, what) => shown[label][`${band.name}_${what}`];
    const within = (band, what, v) => {
      const { minimum, maximum } = ranges[`${band.name}_${what}`];
      return minimum === maximum ? {} : { [`${band.name}_${what}`]: clamp(v, minimum, maximum) };
    };

    const handles = effect.bands.map((band, index) => {
      const key = `band-${label}-${band.name}`;
      const circle = drawn(
        "circle",
        { class: "band", r: 9, tabindex: 0, role: "slider", "aria-label": `${words(band.name)} of ${words(label)}`, "aria-orientation": "vertical" },
        svg,
      );
      const number = drawn("text", { class: "number", "aria-hidden": "true" }, svg, index + 1);
      const turn = (values) => setValue(label, values, key);
      circle.addEventListener("pointerdown", (event) => {
        circle.setPointerCapture(event.pointerId);
        held = band;
        circle.classList.add("held");
        circle.focus();
        event.preventDefault();
      });
      circle.addEventListener("pointermove", (event) => {
        if (held !== band) return;
        const box = svg.getBoundingClientRect();
        if (event.shiftKey) turn(within(band, "q", value(band, "q") * 1.01 ** -event.movementY));
        else
          turn({
            ...within(band, "f0_hz", hzAt(event.clientX - box.left)),
            ...within(band, "gain_db", dbAt(event.clientY - box.top)),
          });
      });
      const release = () => {
        held = null;
        circle.classList.remove("held");
        settle();
      };
      circle.addEventListener("pointerup", release);
      circle.addEventListener("pointercancel", release);
      circle.addEventListener("wheel", (event) => {
        turn(within(band, "q", value(band, "q") * (event.deltaY < 0 ? 1.1 : 1 / 1.1)));
        event.preventDefault();
      }, { passive: false });
      circle.addEventListener("blur", settle);
      circle.addEventListener("keydown", (event) => {
        const step = event.shiftKey ? 0.1 : 0.5;
        const hz = 2 ** ((event.shiftKey ? 1 : 4) / 48);
        const changes = {
          ArrowUp: ["gain_db", value(band, "gain_db") + step],
          ArrowDown: ["gain_db", value(band, "gain_db") - step],
          ArrowRight: ["f0_hz", value(band, "f0_hz") * hz],
          ArrowLeft: ["f0_hz", value(band, "f0_hz") / hz],
          PageUp: ["q", value(band, "q") * 1.1],
          PageDown: ["q", value(band, "q") / 1.1],
          Home: ["gain_db", 0],
        };
        if (!changes[event.key] || event.ctrlKey || event.metaKey) return;
        turn(within(band, ...changes[event.key]));
        event.preventDefault();
      });
      return { band, circle, number };
    });

    const show = () => {
      [width, height] = [svg.clientWidth, svg.clientHeight];
      if (!width) return;
      const off = settings.bypassed.includes(label);
      const farthest = Math.max(...effect.bands.map((band) => Math.abs(value(band, "gain_db"))));
      if (!held) extent = clamp(6 * Math.ceil((farthest + 1) / 6), 12, 24);
      svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
      grid.replaceChildren();
      for (let db = -extent; db <= extent; db += extent > 12 ? 6 : 3) {
        drawn("path", { class: db ? "grid" : "grid zero", d: `M${LEFT} ${y(db)}H${width - RIGHT}` }, grid);
        drawn("text", { x: LEFT - 5, y: y(db) + 4, "text-anchor": "end" }, grid, String(db).replace("-", "\u2212"));
      }
      for (const hz of [20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000]) {
        if (width < 500 && ![20, 100, 1000, 10000].includes(hz)) continue;
        drawn("path", { class: "grid", d: `M${x(hz)} ${TOP}V${height - BOTTOM}` }, grid);
        const anchor = hz === 20000 ? "end" : "middle";
        drawn("text", { x: x(hz), y: height - 6, "text-anchor": anchor }, grid, hz < 1000 ? hz : `${hz / 1000}k`);
      }
      const rate = files.input.sample_rate;
      const highest = Math.min(HIGH, rate / 2.0001);
      const points = Math.min(300, Math.round(width / 2));
      const hz = Array.from({ length: points }, (_, index) => LOW * (highest / LOW) ** (index / (points - 1)));
      const each = effect.bands.map((band) =>
        hz.map((f) => bandDb(band.kind, value(band, "gain_db"), value(band, "f0_hz"), value(band, "q"), f, rate)),
      );
      const line = (levels, from = 0, to = points) => {
        const corners = levels.map((db, index) => `${x(hz[index]).toFixed(1)} ${y(db).toFixed(1)}`);
        return `M${corners.slice(from, to).join("L")}`;
      };
      const bell = (levels) => {
        // Only where it does something: lines of all bands on top of each other at 0 dB would look like one of their own.
        const heard = levels.flatMap((db, index) => (Math.abs(db) > 0.05 ? [index] : []));
        return heard.length > 1 ? line(levels, heard[0], heard.at(-1) + 1) : "";
      };
      singles.setAttribute("d", off ? "" : each.map(bell).join(""));
      curve.setAttribute("d", line(hz.map((_, index) => (off ? 0 : each.reduce((sum, levels) => sum + levels[index], 0)))));
      for (const { band, circle, number } of handles) {
        const [gain, f0] = [value(band, "gain_db"), value(band, "f0_hz")];
        const [cx, cy] = [x(clamp(f0, LOW, HIGH)), y(clamp(gain, -extent, extent))];
        circle.setAttribute("cx", cx);
        circle.setAttribute("cy", cy);
        number.setAttribute("x", cx);
        number.setAttribute("y", cy + 3.5);
        const limits = ranges[`${band.name}_gain_db`];
        circle.setAttribute("aria-valuemin", limits.minimum);
        circle.setAttribute("aria-valuemax", limits.maximum);
        circle.setAttribute("aria-valuenow", plain(gain));
        circle.setAttribute("aria-valuetext", `${signed(gain)} dB at ${plain(f0)} Hz, Q ${plain(value(band, "q"))}`);
      }
    };
    controls.push(show);
    return made(
      "div", {}, svg,
      made("p", { class: "note" }, "Drag a band, or reach it by Tab: arrow keys change gain and frequency, Page Up and Page Down or the wheel its Q."),
    );
  };

  const build = () => {
    controls = [];
    const panels = effects.map((effect) => [effect, panel(effect)]);
    $("equalisers").replaceChildren(...panels.filter(([effect]) => effect.bands.length).map(([, box]) => box));
    $("effects").replaceChildren(...panels.filter(([effect]) => !effect.bands.length).map(([, box]) => box));
  };

  const refresh = () => {
    for (const control of controls) control();
    $("undo").disabled = !past.length;
    $("redo").disabled = !future.length;
    $("slot-a").setAttribute("aria-pressed", String(slot === "a"));
    $("slot-b").setAttribute("aria-pressed", String(slot === "b"));
    const percent = Math.round(100 * settings.amount);
    $("amount").value = percent;
    $("amount-shown").textContent = `${percent} %`;
    const word = settings.loudness === null ? "" : ["keep", "reference"].includes(settings.loudness) ? settings.loudness : "number";
    $("loudness").value = word;
    $("lufs").disabled = word !== "number";
    if (word === "number") $("lufs").value = settings.loudness;
    $("ceiling").value = settings.ceiling === "none" ? "none" : "number";
    $("dbtp").disabled = settings.ceiling === "none";
    if (settings.ceiling !== "none") $("dbtp").value = settings.ceiling;
  };

  // Rendering: one request at a time, with the newest settings

  let dirty = false;
  let running = false;
  let timer = null;

  const schedule = async () => {
    dirty = true;
    failure = null;
    written = null;
    $("exact").textContent = "Preview of the excerpt";
    clearTimeout(timer);
    if (running) return;
    running = true;
    try {
      while (dirty) {
        dirty = false;
        await render();
      }
      if ($("problem").dataset.where === "settings") complain(null);
    } catch (problem) {
      failure = problem;
      complain(problem, "settings");
      return;
    } finally {
      running = false;
    }
    if (unmeasured) measure().catch(complain);
    if (files.input.seconds <= LONGEST_WRITTEN_UNASKED) timer = setTimeout(() => write().catch(complain), QUIET_MS);
    else $("exact").textContent = "Preview of the excerpt; downloading renders the whole recording";
  };

  let placed = ""; // the excerpt and the reference that are loaded
  const render = async () => {
    const { values, bypassed, amounts, loudness, ceiling } = settings;
    const reference = heardReference()?.key ?? null;
    const answer = await ask("render", { values, bypassed, amounts, loudness, ceiling, start, reference });
    const place = JSON.stringify([answer.excerpt, reference]);
    const moved = placed !== place;
    version = answer.version;
    excerpt = answer.excerpt;
    const there = moved && reference !== null;
    const [output, input, other] = await Promise.all([
      sound("output"), moved && sound("input"), there && sound("reference"),
    ]);
    if (moved) {
      player.take("input", input);
      player.take("reference", other || new AudioBuffer({ length: 1, sampleRate: input.sampleRate }));
      player.tracks[2].disabled = !there;
      if (!there && player.track === 2) player.choose(1);
      $("start").value = excerpt.start.toFixed(1);
      placed = place;
    }
    player.take("output", output);
    player.levels(answer.levels);
    $("command").textContent = answer.command;
    document.body.dataset.version = version; // the last settings that are heard
    if (dirty) return;
    effects = answer.effects;
    shown = valuesOf(effects);
    refresh();
    if (moved) drawWhole();
    drawExcerpt();
    showFigures("output", null);
    tellFolder();
    showChart("reduction").catch(complain);
  };

  let writing = null;
  const write = async () => {
    clearTimeout(timer);
    if (written) return;
    if (!writing) writing = writeNow().finally(() => (writing = null));
    await writing;
  };
  const writeNow = async () => {
    $("exact").textContent = "Rendering the whole recording\u2026";
    const found = await ask("write", { version });
    if (found.superseded || dirty || running) return;
    written = found;
    outlines.output = found.waveform;
    showFigures("output", found.figures);
    player.take("output", await sound("output"));
    if (found.level !== null) {
      const lufs = Object.fromEntries(ROLES.map((role) => [role, role === "output" ? found.level : lastLevels[role]]));
      player.levels(lufs);
    }
    drawWhole();
    drawExcerpt();
    remark(found.remarks);
    document.body.dataset.written = version;
    $("exact").textContent = "Whole recording rendered: you hear what the file holds";
    await showChart("spectra");
  };
  let lastLevels = {};
  const levels = player.levels.bind(player);
  player.levels = (lufs) => {
    lastLevels = lufs;
    levels(lufs);
  };

  const valuesOf = (described) =>
    Object.fromEntries(
      described.map((effect) => [effect.label, Object.fromEntries(effect.parameters.map(({ name, value }) => [name, value]))]),
    );

  let remarks = [];
  const remark = (more) => {
    $("remarks").replaceChildren(...[...new Set([...remarks, ...more])].map((text) => made("li", {}, text)));
  };

  // Files

  const listed = () => {
    const row = (file, remove) => {
      const length = file.seconds === undefined ? "style profile" : `${clock(file.seconds)}, ${file.sample_rate} Hz, ${file.channels} channel${file.channels > 1 ? "s" : ""}`;
      const item = made("li", {}, made("span", {}, file.name), made("span", { class: "note" }, length));
      if (remove) {
        const button = made("button", { type: "button", class: "option", "aria-label": `Remove ${file.name}` }, "Remove");
        button.addEventListener("click", remove);
        item.append(button);
      }
      return item;
    };
    $("files-input").replaceChildren(...(files.input ? [row(files.input)] : []));
    const drop = (reference) => async () => {
      await ask("remove", { key: reference.key }).catch(complain);
      files.references = files.references.filter((other) => other !== reference);
      listed();
      choose();
    };
    $("files-reference").replaceChildren(...files.references.map((reference) => row(reference, drop(reference))));
  };

  const withSound = () => files.references.filter((reference) => reference.waveform);
  const heardReference = () => withSound().find((reference) => reference.key === played) || withSound()[0];

  // Several references make one style; one of them is heard and drawn.
  const offerReferences = () => {
    const options = withSound().map((reference) => made("option", { value: reference.key }, reference.name));
    $("played").replaceChildren(...options);
    if (heardReference()) $("played").value = heardReference().key;
    $("played-field").hidden = options.length < 2;
  };
  $("played").addEventListener("change", () => {
    played = $("played").value;
    outlines.reference = heardReference().waveform;
    showFigures("reference", null);
    drawWhole();
    unmeasured = true;
    schedule();
  });

  // What nobody waits for to listen: the meters and the spectra.
  const measure = async () => {
    unmeasured = false;
    const heard = played;
    const found = await get("figures");
    if (heard !== played) return;
    showFigures("input", found.input);
    showFigures("reference", found.reference);
    await showChart("spectra");
  };

  const largest = Number(document.body.dataset.largest);
  const upload = async (role, file) => {
    if (file.size > largest)
      throw new Error(`${file.name} is too large: a file may have ${largest / 2 ** 30} GiB at most. Use \`fxst apply\` for this one.`);
    const path = `${base()}/files/${role}?name=${encodeURIComponent(file.name)}`;
    return (await answered(path, { method: "POST", body: file })).json();
  };

  let taking = 0;
  const take = async (given) => {
    complain(null);
    taking += 1;
    $("read").hidden = false;
    say(`Reading ${given.map(({ file }) => file.name).join(", ")}\u2026`);
    const problems = [];
    await Promise.all(
      given.map(async ({ role, file }) => {
        try {
          const found = await upload(role, file);
          if (found.superseded) return;
          if (role === "input") files.input = found;
          else files.references.push(found);
        } catch (problem) {
          problems.push(problem);
        }
      }),
    );
    taking -= 1;
    listed();
    if (problems.length) complain(new Error(problems.map((problem) => problem.message).join(" ")));
    if (taking) return;
    $("read").hidden = true;
    if (problems.length < given.length) await choose();
    else invite();
  };
  setInterval(() => {
    if (taking) get("progress").then(({ read }) => ($("read").value = read), () => {});
  }, 500);

  const invite = () => {
    if (files.input) say(files.references.length ? "" : "Now choose a reference.");
    else say(files.references.length ? "Now choose a recording." : "");
  };
  const choose = async () => {
    if (!files.input || !files.references.length) {
      $("work").hidden = true;
      if (player.playing) player.pause();
      invite();
      return;
    }
    try {
      say("The model chooses settings\u2026");
      const found = await ask("choose");
      effects = found.effects;
      shown = valuesOf(effects);
      choice = {
        values: valuesOf(effects), bypassed: effects.filter((effect) => effect.bypass).map((effect) => effect.label),
        amounts: {}, amount: 1, loudness: null, ceiling: "-1",
      };
      settings = clone(choice);
      [past, future, slots, slot, start] = [[], [], {}, "a", null];
      excerpt = { start: 0, seconds: 0 };
      player.loop = null;
      [placed, unmeasured] = ["", true];
      ({ remarks } = found);
      remark([]);
      offerReferences();
      const reference = heardReference();
      outlines.input = files.input.waveform;
      outlines.output = [];
      outlines.reference = reference ? reference.waveform : [];
      document.querySelector('#loudness [value="reference"]').disabled = found.reference_loudness === null;
      $("work").hidden = false;
      for (const role of ROLES) showFigures(role, null);
      $("spectra").replaceChildren();
      delete document.body.dataset.written;
      build();
      refresh();
      drawWhole();
      await schedule();
      say("");
    } catch (problem) {
      say("");
      complain(problem);
    }
  };

  for (const role of ["input", "reference"]) {
    $(`file-${role}`).addEventListener("change", (event) => {
      const chosen = [...event.target.files];
      event.target.value = "";
      if (chosen.length) take(chosen.map((file) => ({ role, file })));
    });
  }
  const over = (event) => {
    event.preventDefault();
    for (const zone of document.querySelectorAll(".drop")) zone.classList.toggle("over", zone.contains(event.target));
  };
  const away = () => {
    for (const zone of document.querySelectorAll(".drop")) zone.classList.remove("over");
  };
  addEventListener("dragover", over);
  addEventListener("dragleave", (event) => event.relatedTarget === null && away());
  addEventListener("drop", (event) => {
    event.preventDefault();
    away();
    const dropped = [...event.dataTransfer.files];
    const zone = event.target.closest(".drop");
    const onInput = zone ? zone.id === "drop-input" : !files.input;
    take(dropped.map((file, index) => ({ role: onInput && index === 0 ? "input" : "reference", file })));
  });

  // Keep

  const save = (href, name) => {
    const link = made("a", { href, download: name });
    document.body.append(link);
    link.click();
    link.remove();
  };
  const download = async (kind) => {
    complain(null);
    if (kind === "wav" || kind === "table") {
      $("written").hidden = false;
      const watch = setInterval(() => get("progress").then(({ rendered }) => ($("written").value = rendered), () => {}), 300);
      try {
        while (!written) {
          if (failure) throw failure;
          if (running) await new Promise((resolve) => setTimeout(resolve, 50));
          else await write();
        }
      } finally {
        clearInterval(watch);
        $("written").hidden = true;
      }
      save(`${base()}/downloads/${kind}`, "");
      return;
    }
    const answer = await answered(`${base()}/downloads/${kind}`);
    const address = URL.createObjectURL(await answer.blob());
    const name = /filename\*=utf-8''([^;]+)|filename="([^"]+)"/.exec(answer.headers.get("content-disposition"));
    save(address, name ? decodeURIComponent(name[1] || name[2]) : kind);
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  };
  for (const button of document.querySelectorAll(".download"))
    button.addEventListener("click", () => download(button.dataset.kind).catch(complain));
  $("download-export").addEventListener("click", () => download($("export").value).catch(complain));

  const folder = (begin) => ({
    folder: $("folder-in").value.trim(), output: $("folder-out").value.trim(), each: $("each").value === "each", start: begin,
  });
  const tellFolder = async () => {
    if (!$("folder").open) return;
    $("folder-command").textContent = (await ask("run", folder(false)).catch(() => ({ command: "" }))).command;
  };
  for (const id of ["folder-in", "folder-out", "each"]) $(id).addEventListener("input", tellFolder);
  $("folder").addEventListener("toggle", tellFolder);
  $("run").addEventListener("click", async () => {
    try {
      complain(null);
      await ask("run", folder(true));
      $("stop").hidden = false;
      $("ran").hidden = false;
      for (;;) {
        const now = await get("run/progress");
        const of = now.total === null ? "" : ` of ${now.total}`;
        if (now.total) $("ran").value = now.done / now.total;
        const states = { running: "running", done: "done", failed: "ended with failures", stopped: "stopped" };
        const failed = now.failed ? `, ${now.failed} failed: ${now.errors.join(" ")}` : "";
        $("run-status").textContent = `${now.done}${of} files, ${states[now.state]}${failed} ${now.words}`;
        if (now.state !== "running") break;
        await new Promise((resolve) => setTimeout(resolve, 300));
      }
    } catch (problem) {
      complain(problem);
    } finally {
      $("stop").hidden = true;
    }
  });
  $("stop").addEventListener("click", () => ask("run/stop").catch(complain));

  // Begin and end

  let width = 0;
  new ResizeObserver(() => {
    if (!settings || innerWidth === width) return;
    width = innerWidth;
    refresh();
    drawWhole();
    if (player.sounds.input) drawExcerpt();
  }).observe(document.body);

  addEventListener("pagehide", () => navigator.sendBeacon(`${base()}/close`));
  addEventListener("pageshow", (event) => event.persisted && location.reload());
  fetch("tabs", { method: "POST" })
    .then((answer) => answer.json())
    .then((answer) => {
      ({ tab } = answer);
      document.body.dataset.ready = "";
    })
    .catch(complain);
})();
