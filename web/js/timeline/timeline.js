// The timeline of one Multi-Prompt Schedule: keeps the strip, the plan and the text in step. The text is the value.

import { app } from "../../../../scripts/app.js";
import { colorsOf, drawPlan, drawRuler, fadeBackground, make, named } from "./drawing.js";
import { holderOf, namesBehind, phasesOf, samplerOf, valueOf, valuesOf } from "./graph.js";
import { addGestures } from "./gestures.js";
import { change, chunkAddress, plan, read } from "./server.js";
import { addStyle } from "./style.js";
import { mark, placeCaret } from "./message.js";

export const HEIGHT = 224; // pixels, whatever is in it
const WATCH = 300; // milliseconds between looks at what the strip depends on
const TICK = 5000; // milliseconds between looks at the chunks of a run
const WIDEST = 16000; // pixels of a canvas, which browsers limit
const NARROW = 30; // pixels below which a segment shows its number alone
const HINT = "Drag a border, with Shift all that follows. Double-click splits. A triangle is a cross-fade: drag its length.";
const PLAIN = { transition: "linear", transition_frames: 8, common_text: "", beyond_end: "error" };

export class Timeline {
  /** @param {object} node a Multi-Prompt Schedule */
  constructor(node) {
    addStyle();
    this.node = node;
    this.segments = [];
    this.grid = [];
    this.chosen = 0;
    this.zoom = 1;
    this.seen = "";
    this.asked = 0;
    /** @type {Promise<unknown>} */
    this.busy = Promise.resolve();
    /** @type {HTMLElement[]} where the front end has put it, the last place at the end */
    this.homes = [];
    /** @type {{part: string, index: number, frame: number|null, ripple: boolean}|null} */
    this.drag = null;
    this.build();
    addGestures(this);
    this.watch = setInterval(() => this.look(), WATCH);
    this.look();
  }

  build() {
    this.element = make("div", "timeline", { tabIndex: -1 });
    this.element.dataset.captureWheel = "true";
    const button = (text, title, act) => {
      const made = make("button", "button", { textContent: text, title, type: "button", ariaLabel: title });
      made.addEventListener("click", act);
      return made;
    };
    this.unitButton = button("frames", "Count the ruler in frames or seconds", () => this.turnUnit());
    this.cost = make("span", "cost");
    const bar = make("div", "bar");
    bar.append(
      this.unitButton,
      button("−", "Zoom out", () => this.setZoom(this.zoom / 1.5)),
      button("+", "Zoom in", () => this.setZoom(this.zoom * 1.5)),
      button("split", "Split the chosen prompt in its middle (S, or a double-click)", () => this.splitChosen()),
      button("delete", "Delete the chosen prompt (Delete)", () => this.remove(this.chosen)),
      this.cost,
    );
    this.view = make("div", "view");
    this.inner = make("div", "inner");
    this.ruler = make("div", "ruler");
    this.strip = make("div", "strip", { role: "group", ariaLabel: "Prompts on the timeline" });
    this.canvas = make("canvas", "plan");
    this.looks = make("div", "looks");
    this.inner.append(this.ruler, this.strip, this.canvas, this.looks);
    this.view.append(this.inner);
    this.edit = make("input", "edit", { type: "text", ariaLabel: "Words of the chosen prompt", spellcheck: false });
    this.message = make("div", "message", { role: "status" });
    this.message.addEventListener("click", () => this.fault && placeCaret(this.node, this.fault));
    this.element.append(bar, this.view, this.edit, this.message);
  }

  get unit() {
    return this.node.properties?.timeline_unit ?? "frames";
  }

  /** What makes frames of the text's times; null while a link hides the length. */
  timing() {
    const known = this.node.properties?.timeline_video;
    const frames = valueOf(this.node, "length") ?? known?.[0];
    const fps = valueOf(this.node, "fps") ?? known?.[1];
    if (!(frames >= 1) || !(fps > 0)) return null;
    const timing = { num_frames: Math.round(frames), fps };
    for (const [name, value] of Object.entries(PLAIN)) timing[name] = valueOf(this.node, name) ?? value;
    return timing;
  }

  /** The text; undefined where only a run can tell. */
  get text() {
    return valueOf(this.node, "prompts");
  }

  /** Whether the text is made elsewhere, by what a run computes. */
  get linked() {
    return !holderOf(this.node, "prompts");
  }

  /** Reads the text again where it, or anything that the strip depends on, is another. */
  look() {
    if (this.drag || !this.node.graph) return;
    this.comeHome();
    const sampler = samplerOf(this.node);
    const timing = this.timing();
    const asked = {
      text: this.text, timing, node: sampler?.type, values: sampler ? valuesOf(sampler) : {},
      phases: sampler ? phasesOf(sampler) : [], model: `${namesBehind(this.node)} ${sampler ? namesBehind(sampler) : ""}`,
    };
    // A streamed run finishes chunks while nothing here changes.
    const tick = sampler?.type === "StreamingExtend" ? Math.floor(Date.now() / TICK) : 0;
    const seen = `${JSON.stringify(asked)} ${this.node.size[0]} ${this.run ?? ""} ${tick}`;
    if (seen === this.seen) return;
    this.seen = seen;
    if (asked.text === undefined) return this.say("The text comes through a link and is known when the graph runs.");
    if (!timing) return this.say("The length comes through a link and is known when the graph runs once.");
    this.busy = Promise.allSettled([this.busy, this.ask(asked)]); // changes under way go on
  }

  /** Some front ends take the element into their App mode and don't put it back. */
  comeHome() {
    const parent = this.element.parentElement;
    if (this.element.isConnected) this.homes = [...this.homes.filter((each) => each !== parent && each.isConnected), parent];
    else this.homes.filter((each) => each.isConnected).pop()?.append(this.element);
  }

  async ask(asked) {
    const number = ++this.asked;
    const seen = await read(asked.text, asked.timing);
    if (number !== this.asked) return;
    if (seen.offline) setTimeout(() => (this.seen = ""), TICK);
    if (this.drag) return void (this.seen = ""); // asked again when it ends
    this.asking = asked;
    if (!seen.error && !seen.problem) {
      this.frames = asked.timing.num_frames;
      this.fps = asked.timing.fps;
      this.shown = asked.text;
    }
    this.show(seen);
    if (seen.error || seen.problem) return this.showPlan({});
    const planned = await plan(asked);
    if (number === this.asked) this.showPlan(planned);
  }

  /** @param {object} seen what the server read */
  show(seen) {
    if (seen.problem) return this.say(seen.problem, "wrong");
    this.fault = seen.error ?? seen.warnings[0] ?? null;
    if (seen.error) this.say(seen.error.message, "wrong");
    else if (seen.warnings.length) this.say(seen.warnings.map((each) => each.message).join("\n\n"), "doubt");
    else this.say(HINT, "hint");
    if (seen.error) return; // the strip stays as it was, until the text reads again
    this.segments = seen.segments;
    this.chosen = Math.min(this.chosen, this.segments.length - 1);
    this.draw();
  }

  /** @param {object} planned the server's answer */
  showPlan(planned) {
    this.plan = planned;
    if (planned.grid) this.grid = planned.grid;
    this.cost.textContent = planned.ratio ? `${planned.steps[0].windows.length} windows, ${planned.ratio.toFixed(2)}×` : "";
    if (planned.chunks) {
      const count = (state) => planned.chunks.filter((chunk) => chunk.state === state).length;
      const parts = [`${planned.chunks.length} chunks`];
      if (count("finished")) parts.push(`${count("finished")} finished`);
      if (count("again")) parts.push(`${count("again")} again`);
      this.cost.textContent = parts.join(", ");
    }
    this.cost.title = planned.problem ?? [...(planned.facts ?? []), planned.family && `as for ${planned.family}${planned.guessed ? ", for no file tells the model" : ""}`].filter(Boolean).join("\n");
    if (planned.problem) this.cost.textContent = planned.problem;
    this.drawPlan();
  }

  drawPlan() {
    this.canvas.width = Math.max(200, Math.min(WIDEST, Math.round(this.node.size[0] * this.zoom * 2)));
    this.canvas.height = 68;
    drawPlan(this.canvas, this.plan ?? {}, this.frames);
    const run = this.asking?.values?.run_name;
    this.looks.replaceChildren(
      ...(this.plan?.chunks ?? []).flatMap((chunk, index) => {
        if (!chunk.file) return [];
        const title = `Chunk ${index + 1}, frames ${chunk.first_new} to ${chunk.end}: ${chunk.state}`;
        const made = make("button", "chunk", { type: "button", title, ariaLabel: title });
        made.style.left = `${(100 * chunk.first_new) / this.frames}%`;
        made.style.width = `${(100 * (chunk.end - chunk.first_new)) / this.frames}%`;
        made.style.top = `${58 + (index % 2 ? 17 : 0)}px`;
        made.style.height = "17px";
        made.addEventListener("click", (event) => this.lookAt(chunkAddress(run, chunk.file), title, event));
        return [made];
      }),
    );
  }

  /** Shows a finished chunk until the next click. */
  lookAt(address, title, event) {
    document.querySelector(".glv-look")?.remove();
    const look = make("div", "look", { textContent: title });
    const image = make("img", "frames", { alt: title });
    image.addEventListener("error", () => (look.textContent = `${title}\nThere is no preview of it.`));
    image.src = address;
    look.prepend(image);
    look.style.left = `${Math.min(event.clientX, window.innerWidth - 320)}px`;
    look.style.top = `${Math.min(event.clientY + 12, window.innerHeight - 260)}px`;
    look.addEventListener("click", () => look.remove());
    document.body.append(look);
  }

  /** Draws segments, borders and grips; while a border is dragged, where they would be. */
  draw(segments = this.segments) {
    const { frames, fps } = this;
    const colors = colorsOf(segments);
    const place = (frame) => `${(100 * frame) / frames}%`;
    this.inner.style.width = `${100 * this.zoom}%`;
    this.unitButton.textContent = this.unit;
    drawRuler(this.ruler, frames, fps, this.unit, this.zoom);
    const focus = this.strip.contains(document.activeElement) ? /** @type {any} */ (document.activeElement).dataset.key : null;
    const parts = [];
    segments.forEach((segment, index) => {
      const width = ((segment.end - segment.start) / frames) * this.node.size[0] * this.zoom;
      const from = `${named(segment.start, fps, this.unit)} to ${named(segment.end, fps, this.unit)}`;
      const box = make("div", "segment", { tabIndex: 0, title: `${from}\n${segment.prompt}`, role: "button" });
      box.setAttribute("aria-label", `Prompt ${index + 1}, ${from}: ${segment.words}`);
      box.append(make("b", "number", { textContent: `${index + 1}` }));
      if (width >= NARROW) box.append(segment.words);
      else box.classList.add("glv-narrow");
      box.style.left = place(segment.start);
      box.style.width = place(segment.end - segment.start);
      box.style.background = colors[index];
      box.classList.toggle("glv-chosen", index === this.chosen);
      box.dataset.key = `segment${index}`;
      parts.push(box);
    });
    segments.forEach((segment, index) => {
      if (!index) return;
      const half = segment.frames / 2;
      if (half) {
        const fade = make("div", "fade");
        fade.style.left = place(segment.start - half);
        fade.style.width = place(segment.frames);
        fade.style.background = fadeBackground(colors[index - 1], colors[index], segment.kind);
        parts.push(fade);
      }
      const at = named(segment.start, fps, this.unit);
      const border = make("div", "border", { tabIndex: 0, role: "slider", title: `${at}: drag; with Shift what follows moves` });
      border.setAttribute("aria-valuenow", `${segment.start}`);
      border.setAttribute("aria-label", `Start of prompt ${index + 1}`);
      border.style.left = place(segment.start);
      border.dataset.key = `border${index}`;
      const grip = make("div", "grip", { tabIndex: 0, role: "slider" });
      grip.title = `${segment.kind}${half ? ` over ${segment.frames} frames` : ""}: drag for its length, double-click for its kind`;
      grip.setAttribute("aria-valuenow", `${segment.frames}`);
      grip.setAttribute("aria-label", `Transition into prompt ${index + 1}`);
      grip.style.left = place(segment.start + half);
      grip.dataset.key = `grip${index}`;
      parts.push(border, grip);
    });
    this.strip.replaceChildren(...parts);
    if (focus) this.focus(focus.startsWith("segment") ? `segment${this.chosen}` : focus);
    if (document.activeElement !== this.edit) this.edit.value = segments[this.chosen]?.words ?? "";
    this.edit.disabled = this.linked;
  }

  /** @param {string} key of a segment, border or grip */
  focus(key) {
    /** @type {HTMLElement} */ (this.strip.querySelector(`[data-key="${key}"]`))?.focus({ preventScroll: true });
  }

  choose(index) {
    if (document.activeElement === this.edit && index !== this.chosen) this.retype(this.chosen, this.edit.value);
    this.chosen = Math.max(0, Math.min(index, this.segments.length - 1));
    this.strip.querySelectorAll(".glv-segment").forEach((box, i) => box.classList.toggle("glv-chosen", i === this.chosen));
    this.edit.value = this.segments[this.chosen]?.words ?? "";
  }

  say(text, kind = "") {
    this.message.className = `glv-message${kind && ` glv-${kind}`}`;
    mark(this.message, text);
  }

  setZoom(zoom) {
    this.zoom = Math.max(1, Math.min(zoom, 50));
    if (!this.segments.length) return;
    this.draw();
    this.drawPlan();
  }

  turnUnit() {
    this.node.setProperty?.("timeline_unit", this.unit === "frames" ? "seconds" : "frames");
    if (this.segments.length) this.draw();
  }

  /** The frame nearest to one at which a latent frame begins. */
  snapped(frame) {
    const near = this.grid.reduce((best, each) => (Math.abs(each - frame) < Math.abs(best - frame) ? each : best), 0);
    return this.grid.length ? near : Math.round(frame);
  }

  /**
   * Writes a change into the text; changes come one after the other.
   * @param {string} name @param {object|function(): object} asked its values, or what makes them when its turn comes
   */
  change(name, asked) {
    const make = async () => {
      const values = typeof asked === "function" ? asked() : asked;
      if (!values) return null;
      const timing = this.timing();
      if (this.linked || !timing) return this.say("The text comes through a link: change it where it is written.", "doubt");
      const text = this.text;
      if (text !== this.shown) {
        this.draw();
        return this.look(); // the strip is of another text
      }
      const made = await change(text, timing, name, values);
      if (!this.node.graph) return null;
      if (made.problem || this.text !== text) {
        this.draw();
        return this.say(made.problem ?? "The text was written in the meantime. Make this change again.", "wrong");
      }
      if (name === "split") this.chosen = made.segments.findIndex((segment) => segment.start === values.frame);
      this.write(made.text);
      this.shown = made.text;
      this.show(made);
      return this.look();
    };
    this.busy = this.busy.then(make).catch((error) => this.say(`${error.message ?? error}`, "wrong"));
    return this.busy;
  }

  write(text) {
    const widget = holderOf(this.node, "prompts");
    widget.value = text;
    widget.callback?.(text);
    this.node.graph?.setDirtyCanvas?.(true, true);
    app.extensionManager?.workflow?.activeWorkflow?.changeTracker?.checkState?.();
  }

  split(frame, words = "") {
    return this.change("split", { frame, words });
  }

  splitChosen(words = "") {
    const segment = this.segments[this.chosen];
    if (!segment) return null;
    const middle = Math.round((segment.start + segment.end) / 2);
    const snapped = this.snapped(middle);
    return this.split(snapped > segment.start && snapped < segment.end ? snapped : middle, words);
  }

  remove(index) {
    return this.change("remove", { index });
  }

  retype(index, words) {
    if (words.trim() && words !== this.segments[index]?.words) return this.change("retype", { index, words });
    this.edit.value = this.segments[index]?.words ?? "";
    return null;
  }

  /** What a run told about the video, for links that only a run can follow. */
  ran(message) {
    const video = message?.timeline_video;
    if (video) this.node.setProperty?.("timeline_video", video);
    this.run = (this.run ?? 0) + 1;
  }

  close() {
    clearInterval(this.watch);
    document.querySelector(".glv-look")?.remove();
  }
}
