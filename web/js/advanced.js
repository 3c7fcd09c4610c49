// Folds advanced inputs on the classic canvas, as Nodes 2.0 does: its menu of a node has "Show Advanced".

import { app } from "../../../scripts/app.js";

/** @param {any} node @returns {boolean} whether it is one of this pack's */
const isOurs = (node) => (node.constructor.nodeData?.category ?? "").startsWith("long video");

/** @param {any} node */
const advancedOf = (node) => (node.widgets ?? []).filter((widget) => widget.options?.advanced);

app.registerExtension({
  name: "long_video_pack.advanced",
  /** @param {any} node */
  nodeCreated(node) {
    const widgets = isOurs(node) ? advancedOf(node) : [];
    if (!widgets.length) return;
    for (const widget of widgets) widget.advanced = true;
    node.setSize([node.size[0], node.computeSize()[1]]);
  },
  /** What something is linked to is shown. @param {any} node */
  loadedGraphNode(node) {
    const linked = new Set((node.inputs ?? []).filter((input) => input.link != null).map((input) => input.name));
    if (isOurs(node) && advancedOf(node).some((widget) => linked.has(widget.name))) node.showAdvanced = true;
  },
});
