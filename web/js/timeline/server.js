// Questions to the pack's routes. The parser is the server's; nothing here reads a schedule.

import { api } from "../../../../scripts/api.js";

const PREFIX = "/long_video_pack/timeline";

/**
 * @param {string} name of a route
 * @param {object} asked
 * @returns {Promise<any>} the answer; `problem` says why there is nothing else
 */
async function ask(name, asked) {
  try {
    const answer = await api.fetchApi(`${PREFIX}/${name}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(asked),
    });
    return await answer.json();
  } catch (error) {
    return { problem: `The server does not answer (${error.message ?? error}).`, offline: true };
  }
}

/** How a text reads. @param {string} text @param {object} timing */
export const read = (text, timing) => ask("read", { text, timing });

/** A text with a change. @param {string} text @param {object} timing @param {string} change @param {object} values */
export const change = (text, timing, change, values) => ask("change", { text, timing, change, arguments: values });

/** Windows or chunks. @param {object} asked */
export const plan = (asked) => ask("plan", asked);

/** The address of a finished chunk's small video. @param {string} run @param {string} file */
export const chunkAddress = (run, file) =>
  api.apiURL(`${PREFIX}/chunk?run=${encodeURIComponent(run)}&file=${encodeURIComponent(file)}`);
