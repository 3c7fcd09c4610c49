// What the strip, the ruler and the plan look like: elements and pixels, no graph and no server.

const PALETTE = ["#66a6e6", "#f6a654", "#74c476", "#e57a84", "#ac8edc", "#dec448", "#5cc4c4", "#d692be"];

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag @param {string} name of its class @param {object} [properties]
 * @returns {HTMLElementTagNameMap[T]}
 */
export function make(tag, name, properties = {}) {
  const element = document.createElement(tag);
  element.className = `glv-${name}`;
  for (const [key, value] of Object.entries(properties))
    if (key in element) element[key] = value;
    else element.setAttribute(key, value);
  return element;
}

/** A color for each of the distinct prompts, in the order in which they come. */
export function colorsOf(segments) {
  const colors = new Map();
  for (const segment of segments)
    if (!colors.has(segment.prompt)) colors.set(segment.prompt, PALETTE[colors.size % PALETTE.length]);
  return segments.map((segment) => colors.get(segment.prompt));
}

/** A frame as the ruler names it. @param {number} frame @param {number} fps @param {"frames"|"seconds"} unit */
export function named(frame, fps, unit) {
  if (unit === "frames") return `${Math.round(frame * 10) / 10}`;
  const seconds = frame / fps;
  return `${Math.round(seconds * 100) / 100}s`;
}

/** Round places on the ruler, at most `most` of them. */
export function ticks(end, most) {
  for (let decade = -2; decade < 7; decade++)
    for (const digit of [1, 2, 5]) {
      const step = digit * 10 ** decade;
      if (end / step <= most) return Array.from({ length: Math.floor(end / step + 1e-9) + 1 }, (_, i) => i * step);
    }
  return [0];
}

/** Fills the ruler with its marks. @param {HTMLElement} ruler */
export function drawRuler(ruler, frames, fps, unit, zoom) {
  const end = unit === "frames" ? frames : frames / fps;
  ruler.replaceChildren(
    ...ticks(end, 7 * zoom).map((place) => {
      const mark = make("span", "tick", { textContent: unit === "frames" ? `${place}` : `${Math.round(place * 100) / 100}s` });
      mark.style.left = `${(100 * place) / end}%`;
      return mark;
    }),
  );
}

/** A gradient over the frames around a border, for its cross-fade. */
export function fadeBackground(before, after, kind) {
  if (kind === "hard") return after;
  const stops = kind === "ease" ? [0, 12, 88, 100] : [0, 0, 100, 100];
  return `linear-gradient(90deg, ${before} ${stops[1]}%, ${after} ${stops[2]}%)`;
}

const STATES = { finished: "#3f8f52", again: "#b8792b", new: "#59616c" };

/**
 * Draws windows with their merge weights, or chunks, onto a canvas of the strip's width.
 * @param {HTMLCanvasElement} canvas @param {object} plan the server's answer @param {number} frames of the video
 */
export function drawPlan(canvas, plan, frames) {
  const { width, height } = canvas;
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, width, height);
  const x = (frame) => (width * Math.min(frame, frames)) / frames;
  if (plan.chunks) {
    const row = Math.max(6, height / 2 - 1);
    plan.chunks.forEach((chunk, index) => {
      const top = index % 2 ? height / 2 : 0;
      pen.fillStyle = STATES[chunk.state];
      pen.globalAlpha = 0.35;
      pen.fillRect(x(chunk.start), top, x(chunk.first_new) - x(chunk.start), row);
      pen.globalAlpha = 1;
      pen.fillRect(x(chunk.first_new), top, Math.max(1, x(chunk.end) - x(chunk.first_new) - 1), row);
    });
    return;
  }
  const step = plan.steps?.[0];
  if (!step) return;
  const rows = rowsOf(step.windows);
  const row = height / Math.max(1, rows.length);
  rows.forEach((windows, number) => {
    for (const window of windows) {
      let at = 0;
      for (const [first, last] of window.runs) {
        pen.fillStyle = "#2c333d";
        pen.fillRect(x(first), number * row, Math.max(1, x(last) - x(first) - 1), row - 1);
        const count = plan.grid.filter((frame) => frame >= first && frame < last).length;
        pen.fillStyle = "#7896be";
        for (let i = 0; i < count; i++) {
          const from = x(first + ((last - first) * i) / count);
          const to = x(first + ((last - first) * (i + 1)) / count);
          const level = (row - 1) * (window.weights[at + i] ?? 0);
          pen.fillRect(from, number * row + row - 1 - level, Math.max(0.5, to - from), level);
        }
        at += count;
      }
    }
  });
}

/** Windows in as few rows as hold them without touching. */
function rowsOf(windows) {
  const rows = [];
  for (const window of windows) {
    const first = window.runs[0][0];
    const last = window.runs[window.runs.length - 1][1];
    const row = rows.find((each) => each.end <= first);
    if (row) {
      row.push(window);
      row.end = last;
    } else rows.push(Object.assign([window], { end: last }));
  }
  return rows;
}
