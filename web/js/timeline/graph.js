// Values of a graph that a node depends on, read where they are set: widgets, links, reroutes, subgraphs.

import { app } from "../../../../scripts/app.js";

const SAMPLERS = ["CoDenoiseKSampler", "StreamingExtend", "CoDenoiseModel", "WindowPlan", "InvertLongLatent"];
const FARTHEST = 40; // nodes passed on a way through the graph

/** @param {object} graph @param {number|string} id */
const linkOf = (graph, id) => (id == null ? null : graph.links?.get?.(id) ?? graph.links?.[id] ?? null);

/** All graphs of the workflow with the node that each stands in. */
function* graphsWithin(graph, host = null) {
  yield { graph, host };
  for (const node of graph.nodes ?? graph._nodes ?? [])
    if (node.subgraph) yield* graphsWithin(node.subgraph, node);
}

/** The subgraph node that holds a graph, null for the outermost one. */
function hostOf(graph) {
  for (const each of graphsWithin(app.rootGraph ?? app.graph)) if (each.graph === graph) return each.host;
  return null;
}

/**
 * The node and output that an input is linked to, behind reroutes and borders of subgraphs.
 * @returns {{node?: any, slot?: number, host?: any, name?: string}|null} a host where a subgraph's own widget is it
 */
function sourceOf(node, name) {
  let graph = node.graph;
  let input = node.inputs?.find((each) => each.name === name);
  for (let passed = 0; input && passed < FARTHEST; passed++) {
    const link = linkOf(graph, input.link);
    if (!link) return null;
    const origin = graph.getNodeById(link.origin_id);
    if (!origin) {
      // The inner side of a subgraph's input.
      const host = hostOf(graph);
      const outer = host?.inputs?.[link.origin_slot];
      if (!host || !outer) return null;
      if (outer.link == null) return { host, name: outer.widget?.name ?? outer.name };
      graph = host.graph;
      input = outer;
      continue;
    }
    if (origin.subgraph) {
      const output = origin.subgraph.outputs?.[link.origin_slot];
      const inner = linkOf(origin.subgraph, output?.linkIds?.[0]);
      const made = inner && origin.subgraph.getNodeById(inner.origin_id);
      return made ? { node: made, slot: inner.origin_slot } : null;
    }
    if (origin.type === "Reroute" || (origin.mode === 4 && origin.inputs?.length)) {
      graph = origin.graph;
      input = origin.inputs[0];
      continue;
    }
    return { node: origin, slot: link.origin_slot };
  }
  return null;
}

/** @param {object} node @param {string} name */
export const widgetOf = (node, name) => node.widgets?.find((each) => each.name === name);

/**
 * The widget in which the value of an input is set: its own, or behind links a primitive's or a subgraph's.
 * @returns {any} null where only a run can tell the value
 */
export function holderOf(node, name) {
  let held = { node, name };
  for (let passed = 0; passed < FARTHEST; passed++) {
    const input = held.node.inputs?.find((each) => each.name === held.name);
    if (input?.link == null) return widgetOf(held.node, held.name) ?? null;
    const source = sourceOf(held.node, held.name);
    if (source?.host) return widgetOf(source.host, source.name) ?? null;
    // Primitives hold what they give in their first widget.
    if (!source || !/^Primitive/.test(source.node.type) || !source.node.widgets?.length) return null;
    held = { node: source.node, name: source.node.widgets[0].name };
  }
  return null;
}

/**
 * The value of an input, where it is known without a run.
 * @returns {any} undefined where it is not
 */
export function valueOf(node, name) {
  const holder = holderOf(node, name);
  if (holder) return holder.value;
  const source = sourceOf(node, name);
  const output = source?.node?.outputs?.[source.slot]?.name;
  if (source?.node?.type !== "LongLatent" || !["length", "fps"].includes(output)) return undefined;
  const fps = valueOf(source.node, "fps");
  if (output === "fps") return fps;
  const length = valueOf(source.node, "length");
  const seconds = valueOf(source.node, "unit") === "seconds";
  return length === undefined || (seconds && fps === undefined) ? undefined : Math.max(1, Math.round(seconds ? length * fps : length));
}

/** All values of a node's inputs that are known without a run. */
export function valuesOf(node) {
  const values = {};
  for (const widget of node.widgets ?? []) {
    if (widget.serialize === false) continue;
    const value = valueOf(node, widget.name);
    if (["number", "string", "boolean"].includes(typeof value)) values[widget.name] = value;
  }
  return values;
}

/** The nodes that an output runs into, behind reroutes and borders of subgraphs. */
function* targetsOf(node, slot) {
  for (const id of node.outputs?.[slot]?.links ?? []) {
    const link = linkOf(node.graph, id);
    if (!link) continue;
    const target = node.graph.getNodeById(link.target_id);
    if (target?.subgraph) {
      const inner = target.subgraph.inputs?.[link.target_slot];
      for (const innerId of inner?.linkIds ?? []) {
        const made = linkOf(target.subgraph, innerId);
        const found = made && target.subgraph.getNodeById(made.target_id);
        if (found) yield found;
      }
    } else if (target) yield target;
    else {
      const host = hostOf(node.graph);
      if (host) yield* targetsOf(host, link.target_slot);
    }
  }
}

/** The sampler that a node's conditioning runs into: the nearest, those that make a video before a plan. */
export function samplerOf(node) {
  let nodes = [node];
  const seen = new Set(nodes);
  let plan = null;
  for (let far = 0; far < FARTHEST && nodes.length; far++) {
    const next = [];
    for (const each of nodes)
      for (let slot = 0; slot < (each.outputs?.length ?? 0); slot++)
        for (const target of targetsOf(each, slot)) {
          if (seen.has(target)) continue;
          seen.add(target);
          if (target.type === "WindowPlan") plan ??= target;
          else if (SAMPLERS.includes(target.type)) return target;
          else next.push(target);
        }
    nodes = next;
  }
  return plan;
}

/** The values of the phases that run into a sampler. */
export function phasesOf(sampler) {
  const phases = [];
  let source = sourceOf(sampler, "phases");
  while (source?.node?.type === "CoDenoisePhase" && phases.length < FARTHEST) {
    phases.push(valuesOf(source.node));
    source = sourceOf(source.node, "earlier");
  }
  return phases;
}

/** The types and choices of all that a node's inputs come from: the names of a model's files are among them. */
export function namesBehind(node) {
  const names = [];
  const seen = new Set();
  const visit = (each, depth) => {
    if (!each || seen.has(each) || depth > 12) return;
    seen.add(each);
    if (each !== node && /load|checkpoint|clip|unet|vae|pipeline/i.test(each.type)) {
      names.push(each.type);
      for (const widget of each.widgets ?? []) if (typeof widget.value === "string") names.push(widget.value);
    }
    for (const input of each.inputs ?? []) if (input.link != null) visit(sourceOf(each, input.name)?.node, depth + 1);
  };
  visit(node, 0);
  return names.join(" ").slice(0, 4000);
}
