// Hands on the strip: pointer and keyboard. Each ends in a change of the text.

const KINDS = ["linear", "ease", "hard", ""];
let copied = ""; // words of the prompt that was copied last, in any timeline

/** @param {any} element of the strip @returns {{part: string, index: number}|null} */
function partOf(element) {
  const found = /^(segment|border|grip)(\d+)$/.exec(element?.closest?.("[data-key]")?.dataset.key ?? "");
  return found ? { part: found[1], index: Number(found[2]) } : null;
}

/** The segments as they would be with a border or a transition dragged. */
function dragged(timeline, { part, index, frame, ripple }) {
  const { segments, frames } = timeline;
  if (part === "grip") {
    const most = 2 * Math.min(segments[index].start - segments[index - 1].start, segments[index].end - segments[index].start);
    const long = Math.min(Math.abs(frame - segments[index].start) * 2, most);
    return segments.map((each, i) => (i === index ? { ...each, frames: long, kind: each.kind === "hard" ? "linear" : each.kind } : each));
  }
  const last = segments[segments.length - 1].start;
  const highest = ripple ? segments[index].start + frames - 1 - last : segments[index].end - 1;
  const step = Math.max(segments[index - 1].start + 1, Math.min(frame, highest)) - segments[index].start;
  const moved = segments.map((each, i) => ({ ...each, start: each.start + (i === index || (ripple && i > index) ? step : 0) }));
  return moved.map((each, i) => ({ ...each, end: moved[i + 1]?.start ?? frames, frames: Math.min(each.frames, 2 * (each.start - (moved[i - 1]?.start ?? 0))) }));
}

/** Lets a timeline be changed by hand. @param {import("./timeline.js").Timeline} timeline */
export function addGestures(timeline) {
  const { strip, view, edit, element } = timeline;
  const frameAt = (event) => {
    const box = strip.getBoundingClientRect();
    return ((event.clientX - box.left) / box.width) * timeline.frames;
  };
  const near = (event) => (event.altKey ? Math.round(frameAt(event)) : timeline.snapped(frameAt(event)));

  strip.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    const hit = partOf(event.target);
    if (!hit) return;
    event.stopPropagation();
    if (hit.part === "segment") return timeline.choose(hit.index);
    if (timeline.linked) return;
    event.preventDefault();
    timeline.focus(`${hit.part}${hit.index}`);
    timeline.drag = { ...hit, frame: null, ripple: false };
    // On the strip, which stays, while the parts on it are drawn anew.
    strip.setPointerCapture(event.pointerId);
  });
  strip.addEventListener("pointermove", (event) => {
    const drag = timeline.drag;
    if (!drag) return;
    event.stopPropagation();
    const frame = drag.part === "grip" ? frameAt(event) : near(event);
    if (drag.frame === null && Math.abs(frameAt(event) - timeline.segments[drag.index].start) * (strip.getBoundingClientRect().width / timeline.frames) < 2) return;
    Object.assign(drag, { frame, ripple: event.shiftKey });
    timeline.draw(dragged(timeline, drag));
  });
  const drop = (event) => {
    const drag = timeline.drag;
    if (!drag) return;
    timeline.drag = null;
    event.stopPropagation();
    if (drag.frame === null || event.type !== "pointerup") return timeline.draw();
    const after = dragged(timeline, drag)[drag.index];
    if (drag.part === "grip") timeline.change("fade", { index: drag.index, kind: after.kind, frames: Math.round(after.frames) });
    else timeline.change("move", { index: drag.index, frame: after.start, ripple: drag.ripple });
  };
  strip.addEventListener("pointerup", drop);
  strip.addEventListener("pointercancel", drop);
  strip.addEventListener("lostpointercapture", drop);

  strip.addEventListener("dblclick", (event) => {
    const hit = partOf(event.target);
    if (!hit) return;
    event.stopPropagation();
    event.preventDefault();
    if (hit.part === "segment") timeline.split(near(event));
    else if (hit.part === "grip") turnKind(timeline, hit.index);
  });

  strip.addEventListener("focusin", (event) => {
    const hit = partOf(event.target);
    if (hit?.part === "segment") timeline.choose(hit.index);
  });

  element.addEventListener("keydown", (event) => {
    if (event.target === edit) return typed(timeline, event);
    const hit = partOf(event.target);
    // Delete on any part is never that of the whole node.
    if (hit && (pressed(timeline, hit, event) || ["Delete", "Backspace"].includes(event.key))) {
      event.stopPropagation();
      event.preventDefault();
    }
  });
  edit.addEventListener("change", () => timeline.retype(timeline.chosen, edit.value));

  view.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.stopPropagation();
      event.preventDefault();
      timeline.setZoom(timeline.zoom * (event.deltaY < 0 ? 1.25 : 0.8));
    },
    { passive: false },
  );
}

/** The next kind of transition; behind the last one, what the node's own inputs say. */
function turnKind(timeline, index) {
  const segment = timeline.segments[index];
  const now = segment.written ? KINDS.indexOf(segment.kind) : KINDS.length - 1;
  const kind = KINDS[(now + 1) % KINDS.length];
  const frames = kind === "linear" || kind === "ease" ? segment.frames || 8 : null;
  return timeline.change("fade", { index, kind, frames });
}

/** Keys in the field of the chosen prompt's words. */
function typed(timeline, event) {
  event.stopPropagation();
  if (event.isComposing) return; // Enter and Escape are the input method's
  if (event.key === "Enter") {
    event.preventDefault();
    timeline.edit.blur();
    timeline.focus(`segment${timeline.chosen}`);
  } else if (event.key === "Escape") {
    timeline.edit.value = timeline.segments[timeline.chosen]?.words ?? "";
    timeline.focus(`segment${timeline.chosen}`);
  }
}

/** Keys on a part of the strip. @returns {boolean} whether it was one that means something */
function pressed(timeline, { part, index }, event) {
  const segment = timeline.segments[index];
  const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
  const command = event.ctrlKey || event.metaKey;
  if (part === "segment") {
    if (step) {
      timeline.choose(index + step);
      timeline.focus(`segment${timeline.chosen}`);
    } else if (event.key === "Delete" || event.key === "Backspace") timeline.remove(index);
    else if (event.key === "Enter" || event.key === "F2") {
      timeline.edit.focus();
      timeline.edit.select();
    } else if (event.key.toLowerCase() === "s" && !command) timeline.splitChosen();
    else if (command && event.key === "c") {
      copied = segment.words;
      navigator.clipboard?.writeText?.(copied).catch(() => {});
    } else if (command && event.key === "x") {
      copied = segment.words;
      timeline.remove(index);
    } else if (command && event.key === "v" && copied) timeline.splitChosen(copied);
    else return false;
    return true;
  }
  if (part === "border") {
    if (!step) return false;
    const { altKey, shiftKey } = event;
    timeline.change("move", () => {
      const start = timeline.segments[index]?.start;
      return start === undefined ? null : { index, frame: altKey ? start + step : nextOnGrid(timeline.grid, start, step), ripple: shiftKey };
    });
    return true;
  }
  if (step)
    timeline.change("fade", () => {
      const { kind, frames } = timeline.segments[index] ?? {};
      return kind && { index, kind: kind === "hard" ? "linear" : kind, frames: Math.max(0, frames + 2 * step) };
    });
  else if (event.key === "Enter" || event.key === " ") turnKind(timeline, index);
  else if (event.key === "Delete") timeline.change("fade", { index, kind: "" });
  else return false;
  return true;
}

/** The first frame of the latent frame before or behind one. */
function nextOnGrid(grid, frame, step) {
  const found = step > 0 ? grid.find((each) => each > frame) : grid.filter((each) => each < frame).pop();
  return found ?? frame + step;
}
