// Puts the timeline above the text of every Multi-Prompt Schedule.

import { app } from "../../../../scripts/app.js";
import { HEIGHT, Timeline } from "./timeline.js";

const WIDTH = 380;

/** Keeps a node's stored values free of the place of a widget that has none. */
function storeWithoutGaps(node) {
  const before = node.onSerialize;
  node.onSerialize = function (stored) {
    before?.call(this, stored);
    if (!Array.isArray(stored.widgets_values)) return;
    const kept = this.widgets.filter((widget) => widget.serialize !== false);
    stored.widgets_values = kept.map((widget) => widget.value ?? null);
  };
}

/** @param {object} node */
function addTimeline(node) {
  const timeline = new Timeline(node);
  const height = () => HEIGHT;
  const widget = node.addDOMWidget("timeline", "LONG_VIDEO_TIMELINE", timeline.element, {
    serialize: false, hideOnZoom: false, getMinHeight: height, getMaxHeight: height, getHeight: height,
    getValue: () => "", setValue: () => {},
  });
  widget.serialize = false;
  widget.timeline = timeline;
  node.widgets.splice(node.widgets.indexOf(widget), 1);
  node.widgets.unshift(widget);
  storeWithoutGaps(node);
  const removed = node.onRemoved;
  node.onRemoved = function () {
    timeline.close();
    return removed?.apply(this, arguments);
  };
  const executed = node.onExecuted;
  node.onExecuted = function (message) {
    executed?.apply(this, arguments);
    timeline.ran(message);
  };
  grow(node);
}

/** Makes a node as large as what is in it; a larger one stays as it is. */
function grow(node) {
  const least = node.computeSize();
  node.setSize([Math.max(node.size[0], WIDTH), Math.max(node.size[1], least[1])]);
}

app.registerExtension({
  name: "long_video_pack.timeline",
  nodeCreated(node) {
    if (node.comfyClass === "MultiPromptSchedule") addTimeline(node);
  },
  loadedGraphNode(node) {
    if (node.comfyClass === "MultiPromptSchedule") grow(node);
  },
});
