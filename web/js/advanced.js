// Folds advanced inputs on the classic canvas, as Nodes 2.0 does: a node's menu there has "Show Advanced".

import { app } from "../../../scripts/app.js";

/** The pack's folder, as addresses have it. Categories and titles tell nothing: the editor translates them. */
const folder = decodeURIComponent(import.meta.url.match(/\/extensions\/([^/]+)\//)?.[1] ?? "");

/** @param {any} node @returns {boolean} whether it is one of this pack's */
const isOurs = (node) => node.constructor.nodeData?.python_module === `custom_nodes.${folder}`;

/** @param {any} node */
const advancedOf = (node) => (node.widgets ?? []).filter((widget) => widget.options?.advanced);

app.registerExtension({
  name: "long_video_pack.advanced",
  /** @param {any} node */
  nodeCreated(node) {
    const widgets = isOurs(node) ? advancedOf(node) : [];
    // Without this front ends leave room for what is folded; older ones have no place to say it, and stay unfolded.
    if (!widgets.length || !node.getLayoutWidgets) return;
    node.getLayoutWidgets = () => (node.widgets ?? []).filter((widget) => !widget.advanced || node.isWidgetVisible(widget));
    for (const widget of widgets) widget.advanced = true;
    node.setSize([node.size[0], node.computeSize()[1]]);
  },
  /** What something is linked to is shown. @param {any} node */
  loadedGraphNode(node) {
    const linked = new Set((node.inputs ?? []).filter((input) => input.link != null).map((input) => input.name));
    if (isOurs(node) && advancedOf(node).some((widget) => linked.has(widget.name))) node.showAdvanced = true;
  },
});
