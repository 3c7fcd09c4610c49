// The parser's message, with the place that it blames underlined, and the caret set there.

import { make } from "./drawing.js";
import { widgetOf } from "./graph.js";

/**
 * Shows a message; under a line that a caret points at, the place is underlined and the caret's own line is left out.
 * @param {HTMLElement} element @param {string} text
 */
export function mark(element, text) {
  const lines = text.split("\n");
  const shown = [];
  lines.forEach((line, index) => {
    const caret = /^ *\^$/.test(line) ? line.indexOf("^") : -1;
    if (caret >= 0 && index) {
      const blamed = [...lines[index - 1]];
      const end = Math.max(caret + 1, caret + (blamed.slice(caret).join("").match(/^[\w.%-]+/)?.[0].length ?? 1));
      shown.pop();
      shown.push([blamed.slice(0, caret).join(""), blamed.slice(caret, end).join("") || " ", blamed.slice(end).join("")]);
    } else shown.push([line]);
  });
  element.replaceChildren(
    ...shown.flatMap(([before, blamed, after], index) => {
      const end = index + 1 < shown.length ? "\n" : "";
      return blamed === undefined ? [before + end] : [before, make("u", "blamed", { textContent: blamed }), after + end];
    }),
  );
}

/** The text area of a node's prompts, in either renderer. */
function areaOf(node, name) {
  const widget = widgetOf(node, name);
  const own = widget?.inputEl ?? widget?.element;
  if (own?.isConnected && own.tagName === "TEXTAREA") return own;
  /** @type {HTMLTextAreaElement[]} */
  const areas = [...document.querySelectorAll(/** @type {any} */ (`[data-node-id="${node.id}"] textarea`))];
  return areas.find((area) => area.value === widget?.value) ?? areas[0];
}

/** Puts the caret where a message points. @param {object} node @param {{line: number, column: number, common: boolean}} fault */
export function placeCaret(node, fault) {
  const area = areaOf(node, fault.common ? "common_text" : "prompts");
  if (!area || !fault.line) return;
  const lines = area.value.split("\n");
  const before = lines.slice(0, fault.line - 1).reduce((sum, line) => sum + line.length + 1, 0);
  const inLine = [...(lines[fault.line - 1] ?? "")].slice(0, fault.column - 1).join("").length;
  area.focus();
  area.setSelectionRange(before + inLine, before + inLine + 1);
}
