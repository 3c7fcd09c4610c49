"""The timeline of Multi-Prompt Schedule in ComfyUI's own front ends, classic and Nodes 2.0, with mouse and keyboard.

After each step the text, the queued prompt and a parse of it agree with the strip.
"""

from __future__ import annotations

import time

import pytest

from glv_core.prompts import parse_schedule

pytestmark = pytest.mark.every_host
TEXT = "# storm\n0: a calm sea\n5s [ease 12]: high waves\n75%: lightning"
FRAMES, FPS = 241, 16

MAKE = """async ([text, frames, width, scale]) => {
    const graph = window.app.graph;
    const used = graph.last_node_id;
    graph.clear();
    graph.last_node_id = used;
    const schedule = window.LiteGraph.createNode("MultiPromptSchedule");
    const sampler = window.LiteGraph.createNode("CoDenoiseKSampler");
    schedule.pos = [40, 60];
    sampler.pos = [900, 60];
    graph.add(schedule);
    graph.add(sampler);
    const set = (node, name, value) => {
        const widget = node.widgets.find((each) => each.name === name);
        widget.value = value;
        widget.callback?.(value);
    };
    set(schedule, "prompts", text);
    set(schedule, "length", frames);
    set(schedule, "fps", 16);
    set(sampler, "window", 81);
    schedule.connect(0, sampler, 1);
    schedule.setSize([width, schedule.size[1]]);
    window.app.canvas.ds.scale = scale;
    window.app.canvas.ds.offset = [120, 40];
    window.app.canvas.setDirty(true, true);
    window.schedule = schedule;
    await new Promise((resolve) => setTimeout(resolve, 300));
}"""

STATE = """async () => {
    const node = window.schedule;
    const timeline = node.widgets.find((each) => each.name === "timeline").timeline;
    timeline.look();
    let waited;
    do {
        waited = timeline.busy;
        await waited;
    } while (waited !== timeline.busy);
    return {
        text: node.widgets.find((each) => each.name === "prompts").value,
        queued: (await window.app.graphToPrompt()).output[node.id].inputs,
        stored: node.serialize().widgets_values,
        segments: timeline.segments, cost: timeline.cost.textContent, message: timeline.message.textContent,
        grid: timeline.grid, height: node.size[1],
    };
}"""

BOX = """(key) => {
    const node = window.schedule;
    const timeline = node.widgets.find((each) => each.name === "timeline").timeline;
    const part = key ? timeline.strip.querySelector(`[data-key="${key}"]`) : timeline.strip;
    const box = part.getBoundingClientRect();
    return [box.left, box.top, box.width, box.height];
}"""


TIMELINE = "window.schedule.widgets.find((each) => each.name === 'timeline').timeline"


class Hand:
    """A mouse and a keyboard on the timeline."""

    def __init__(self, page):
        self.page = page

    def make(self, text=TEXT, frames=FRAMES, width=460, scale=1.0):
        self.frames = frames
        self.page.evaluate(MAKE, [text, frames, width, scale])
        return self.agreed()

    def agreed(self):
        """The state, once all that shows the text agrees."""
        state = self.page.evaluate(STATE)
        assert state["queued"]["prompts"] == state["text"]
        assert "timeline" not in state["queued"]
        assert state["stored"][0] == state["text"]
        schedule = parse_schedule(state["text"], num_frames=self.frames, fps=FPS)
        shown = [
            (each["start"], each["end"], each["prompt"], each["kind"], each["frames"]) for each in state["segments"]
        ]
        assert shown == [
            (each.start, each.end, each.prompt, each.transition.kind, each.transition.frames)
            for each in schedule.segments
        ]
        return state

    def starts(self):
        return [each["start"] for each in self.agreed()["segments"]]

    def x(self, frame):
        left, _, width, _ = self.page.evaluate(BOX, None)
        return left + width * frame / self.frames

    def at(self, key, share=(0.5, 0.4)):
        left, top, width, height = self.page.evaluate(BOX, key)
        return left + share[0] * width, top + share[1] * height

    def drag(self, key, frame, shift=False):
        x, y = self.at(key)
        self.page.mouse.move(x, y)
        self.page.mouse.down()
        if shift:
            self.page.keyboard.down("Shift")
        for share in (0.3, 0.7, 1.0):
            self.page.mouse.move(x + (self.x(frame) - x) * share, y)
        self.page.mouse.up()
        if shift:
            self.page.keyboard.up("Shift")
        time.sleep(0.1)
        return self.agreed()

    def click_twice(self, frame):
        _, y = self.at(None, (0.5, 0.3))
        self.page.mouse.dblclick(self.x(frame), y)
        time.sleep(0.1)
        return self.agreed()

    def press(self, key, keys):
        self.page.evaluate(
            "(key) => window.schedule.widgets.find((each) => each.name === 'timeline').timeline.focus(key)", key
        )
        for each in keys.split():
            self.page.keyboard.press(each)
        time.sleep(0.1)
        return self.agreed()


@pytest.fixture(scope="module", params=["classic", "nodes 2.0"])
def hand(request, page):
    on = "true" if request.param == "nodes 2.0" else "false"
    page.evaluate(f"async () => window.app.extensionManager.setting.set('Comfy.VueNodes.Enabled', {on})")
    time.sleep(1)
    yield Hand(page)
    page.evaluate("async () => window.app.extensionManager.setting.set('Comfy.VueNodes.Enabled', false)")


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_a_border_is_dragged_to_a_latent_frame_and_its_unit_stays(hand, scale):
    state = hand.make(scale=scale)
    assert hand.starts() == [0, 80, 181]
    state = hand.drag("border1", 102)
    start = state["segments"][1]["start"]
    assert abs(start - 102) <= 3
    assert start in state["grid"]
    seconds = float(state["text"].split("\n")[2].partition("s")[0])
    assert round(seconds * FPS) == start
    assert state["text"].split("\n")[::3] == TEXT.split("\n")[::3]  # nothing else is touched
    assert "[ease 12]: high waves" in state["text"]


def test_with_shift_all_that_follows_moves(hand):
    hand.make()
    state = hand.drag("border1", 100, shift=True)
    first, second = (each["start"] for each in state["segments"][1:])
    assert first != 80
    assert abs((second - 181) - (first - 80)) <= 1


def test_a_border_stops_at_its_neighbour(hand):
    hand.make("0: a\n80: b\n160: c")
    assert hand.drag("border1", 235)["segments"][1]["start"] == 159


def test_the_grip_of_a_cross_fade(hand):
    hand.make()
    state = hand.drag("grip1", 92)
    assert state["segments"][1]["frames"] == pytest.approx(24, abs=3)
    assert f"[ease {state['segments'][1]['frames']:g}]" in state["text"]
    assert "[hard]" in hand.press("grip1", "Enter")["text"]
    assert "[" not in hand.press("grip1", "Delete")["text"]


def test_split_retype_and_delete(hand):
    hand.make()
    state = hand.click_twice(40)
    start = state["segments"][1]["start"]
    assert abs(start - 40) <= 3
    assert f"\n{start}: a calm sea" in state["text"]
    hand.press("segment1", "Enter")
    hand.page.keyboard.type("a red boat")
    hand.page.keyboard.press("Enter")
    time.sleep(0.2)
    assert f"\n{start}: a red boat\n" in hand.agreed()["text"]
    assert hand.press("segment1", "Delete")["text"] == TEXT


def test_copied_words_begin_another_prompt(hand):
    hand.make()
    hand.press("segment2", "Control+c")
    state = hand.press("segment0", "Control+v")
    assert [each["words"] for each in state["segments"]] == ["a calm sea", "lightning", "high waves", "lightning"]


def test_typed_words_stay_when_another_prompt_is_clicked(hand):
    hand.make()
    hand.press("segment0", "Enter")
    hand.page.keyboard.type("a red boat")
    hand.page.mouse.click(*hand.at("segment2"))
    time.sleep(0.3)
    state = hand.agreed()
    assert [each["words"] for each in state["segments"]] == ["a red boat", "high waves", "lightning"]
    assert hand.page.evaluate(f"() => {TIMELINE}.edit.value") == "lightning"


def test_keys_stay_on_the_strip(hand):
    """The new prompt of a split is the chosen one, and no Delete on a part is that of the node."""
    hand.make("0: a\n120: b")
    hand.page.evaluate("() => window.app.canvas.select?.(window.schedule)")
    hand.press("segment1", "s")
    assert hand.page.evaluate("() => document.activeElement.dataset.key") == "segment2"
    for _ in range(3):
        hand.page.keyboard.press("Delete")
        time.sleep(0.3)
    assert hand.agreed()["text"] == "0: a"
    hand.make()
    hand.page.evaluate("() => window.app.canvas.select?.(window.schedule)")
    hand.press("border1", "Delete Backspace")
    assert hand.page.evaluate("() => Boolean(window.schedule.graph)")
    assert hand.agreed()["text"] == TEXT


def test_changes_wait_for_each_other_and_lose_nothing(hand):
    hand.make()
    hand.page.evaluate(
        f"""async () => {{
            const timeline = {TIMELINE};
            timeline.change("move", () => {{ throw new Error("no such prompt"); }});
            timeline.change("move", {{ index: 1, frame: 97 }});
            timeline.run = 1;
            timeline.look();
            await timeline.change("retype", {{ index: 0, words: "boats" }});
        }}"""
    )
    assert hand.agreed()["text"] == TEXT.replace("5s", "6.06s").replace("a calm sea", "boats")
    hand.page.evaluate(
        f"""async () => {{
            const timeline = {TIMELINE};
            const made = timeline.change("remove", {{ index: 1 }});
            await Promise.resolve();
            await Promise.resolve();
            timeline.node.widgets.find((each) => each.name === "prompts").value = "0: typed\\n90: meanwhile";
            await made;
        }}"""
    )
    time.sleep(0.5)
    assert hand.agreed()["text"] == "0: typed\n90: meanwhile"


def test_keys_move_borders_by_latent_frames(hand):
    hand.make()
    assert hand.press("border1", "ArrowRight")["segments"][1]["start"] == 81
    assert hand.press("border1", "ArrowRight ArrowRight")["segments"][1]["start"] == 89
    assert hand.press("border1", "Alt+ArrowLeft")["segments"][1]["start"] == 88
    state = hand.press("border1", "Shift+ArrowLeft")
    assert [each["start"] for each in state["segments"]][1:] == [85, 178]


def test_a_change_is_undone(hand):
    hand.make()
    hand.page.evaluate("() => window.app.extensionManager.workflow.activeWorkflow.changeTracker.checkState()")
    moved = hand.press("border1", "ArrowRight")["text"]
    assert moved != TEXT
    hand.page.evaluate("() => window.app.extensionManager.command.execute('Comfy.Undo')")
    time.sleep(1)
    find_again(hand.page)
    assert hand.agreed()["text"] == TEXT


def test_a_workflow_comes_back_from_its_file(hand):
    hand.make()
    hand.press("border1", "ArrowRight")
    before = hand.agreed()
    again = hand.page.evaluate(
        """async () => {
            const stored = JSON.parse(JSON.stringify(window.app.graph.serialize()));
            const heights = [];
            for (let round = 0; round < 3; round++) {
                await window.app.loadGraphData(stored);
                await new Promise((resolve) => setTimeout(resolve, 300));
                window.schedule = window.app.graph.nodes.find((each) => each.type === "MultiPromptSchedule");
                heights.push(window.schedule.size[1]);
            }
            return {heights, stored: stored.nodes.find((each) => each.type === "MultiPromptSchedule").widgets_values,
                    names: window.schedule.widgets.map((each) => each.name)};
        }"""
    )
    assert again["names"].count("timeline") == 1
    assert again["stored"] == before["stored"]
    assert None not in again["stored"]
    after = hand.agreed()
    assert (after["text"], after["segments"]) == (before["text"], before["segments"])
    assert max(again["heights"]) - min(again["heights"]) <= 2  # nothing grows with each opening


def test_a_copied_node_has_a_timeline_of_its_own(hand):
    hand.make()
    first = hand.page.evaluate(
        """async () => {
            const canvas = window.app.canvas;
            canvas.deselectAll?.();
            canvas.select(window.schedule);
            canvas.copyToClipboard();
            canvas.pasteFromClipboard();
            await new Promise((resolve) => setTimeout(resolve, 500));
            const old = window.schedule;
            window.schedule = window.app.graph.nodes.find(
                (each) => each.type === "MultiPromptSchedule" && each !== old);
            window.old = old;
            return window.schedule.id !== old.id;
        }"""
    )
    assert first
    copy = hand.press("border1", "ArrowRight")
    assert copy["segments"][1]["start"] == 81
    hand.page.evaluate("() => { window.schedule = window.old; }")
    assert hand.agreed()["text"] == TEXT


def command(page, name):
    page.evaluate("(name) => window.app.extensionManager.command.execute(name)", name)
    time.sleep(1)


def find_again(page):
    page.evaluate(
        "() => { window.schedule = window.app.graph.nodes.find((each) => each.type === 'MultiPromptSchedule'); }"
    )


def test_it_stays_when_tabs_are_switched(hand):
    hand.make()
    moved = hand.press("border1", "ArrowRight")["text"]
    command(hand.page, "Comfy.NewBlankWorkflow")
    assert hand.page.evaluate("() => window.app.graph.nodes.length") == 0
    for _ in range(5):
        command(hand.page, "Workspace.PreviousOpenedWorkflow")
        find_again(hand.page)
        if hand.page.evaluate("() => Boolean(window.schedule)"):
            break
    assert hand.agreed()["text"] == moved
    assert hand.press("border1", "ArrowRight")["segments"][1]["start"] == 85


def test_it_stays_through_the_app_mode(hand):
    hand.make()
    moved = hand.press("border1", "ArrowRight")["text"]
    command(hand.page, "Comfy.ToggleLinear")
    assert hand.agreed()["text"] == moved
    command(hand.page, "Comfy.ToggleLinear")
    hand.page.wait_for_function(
        "() => window.schedule.widgets.find((each) => each.name === 'timeline').timeline.element.checkVisibility()"
    )
    assert hand.press("border1", "ArrowRight")["segments"][1]["start"] == 85


def test_thirty_prompts_at_400_pixels_can_be_told_apart(hand):
    state = hand.make("\n".join(f"{8 * number}: prompt {number + 1}" for number in range(30)), width=400)
    assert len(state["segments"]) == 30
    boxes = [hand.page.evaluate(BOX, f"segment{number}") for number in range(30)]
    assert all(width >= 10 for _, _, width, _ in boxes)
    seen = hand.page.evaluate(
        """() => [...window.schedule.widgets.find((each) => each.name === "timeline").timeline.strip
            .querySelectorAll(".glv-number")].map((each) => {
                const box = each.getBoundingClientRect(), around = each.parentElement.getBoundingClientRect();
                return [each.textContent, box.right <= around.right + 1];
            })"""
    )
    assert seen == [[str(number + 1), True] for number in range(30)]
    assert hand.drag("border29", 236)["segments"][29]["start"] in range(233, 240)


def test_a_mistake_is_underlined_at_once(hand):
    hand.make()
    wrong = "0: a calm sea\n48 [slow 3]: waves"
    hand.page.evaluate(
        "(text) => { window.schedule.widgets.find((each) => each.name === 'prompts').value = text; }", wrong
    )
    time.sleep(0.5)
    state = hand.page.evaluate(STATE)
    assert "line 2, column 5: 'slow' is not a transition" in state["message"]
    assert [each["words"] for each in state["segments"]] == ["a calm sea", "high waves", "lightning"]  # the last good
    underlined, font = hand.page.evaluate(
        """() => {
            const message = window.schedule.widgets.find((each) => each.name === "timeline").timeline.message;
            return [message.querySelector("u").textContent, getComputedStyle(message).fontFamily];
        }"""
    )
    assert underlined == "slow"
    assert "monospace" in font
    hand.page.evaluate(
        "(text) => { window.schedule.widgets.find((each) => each.name === 'prompts').value = text; }", TEXT
    )
    time.sleep(0.5)
    assert "not a transition" not in hand.agreed()["message"]


def test_the_plan_follows_the_sampler(hand):
    state = hand.make()
    assert state["cost"].startswith("4 windows, ")
    hand.page.evaluate(
        """() => {
            const sampler = window.app.graph.nodes.find((each) => each.type === "CoDenoiseKSampler");
            sampler.widgets.find((each) => each.name === "window").value = 161;
        }"""
    )
    time.sleep(0.5)
    assert hand.page.evaluate(STATE)["cost"].startswith("2 windows, ")
    painted = hand.page.evaluate(
        """() => {
            const canvas = window.schedule.widgets.find((each) => each.name === "timeline").timeline.canvas;
            const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
            return data.filter((value, index) => index % 4 === 3 && value).length / (canvas.width * canvas.height);
        }"""
    )
    assert painted > 0.3


LINK = """([type, value]) => {
    const node = window.LiteGraph.createNode(type);
    window.app.graph.add(node);
    node.widgets[0].value = value;
    const input = window.schedule.inputs.findIndex((each) => each.name === "prompts");
    node.connect(0, window.schedule, input);
    window.linked = node;
}"""
REMOVE = "(index) => window.schedule.widgets.find((each) => each.name === 'timeline').timeline.remove(index)"


def test_a_text_in_a_primitive_is_changed_there(hand):
    hand.make()
    hand.page.evaluate(LINK, ["PrimitiveStringMultiline", "0: one\n120: two"])
    time.sleep(0.5)
    state = hand.page.evaluate(STATE)
    assert [(each["start"], each["words"]) for each in state["segments"]] == [(0, "one"), (120, "two")]
    hand.page.evaluate(REMOVE, 1)
    hand.page.evaluate(STATE)
    assert hand.page.evaluate("() => window.linked.widgets[0].value") == "0: one"
    assert hand.page.evaluate(STATE)["text"] == TEXT  # what is not used stays


def test_a_text_that_a_run_makes_is_not_changed(hand):
    hand.make()
    hand.page.evaluate(LINK, ["StringConcatenate", "0: one"])
    time.sleep(0.5)
    assert "is known when the graph runs" in hand.page.evaluate(STATE)["message"]
    hand.page.evaluate(REMOVE, 1)
    state = hand.page.evaluate(STATE)
    assert "comes through a link" in state["message"]
    assert state["text"] == TEXT


def test_a_length_that_comes_through_a_link_is_followed(hand):
    hand.make("0: one\n50%: two")
    hand.page.evaluate(
        """() => {
            const latent = window.LiteGraph.createNode("LongLatent");
            window.app.graph.add(latent);
            const set = (name, value) => { latent.widgets.find((each) => each.name === name).value = value; };
            set("length", 10); set("unit", "seconds"); set("fps", 16);
            const input = window.schedule.inputs.findIndex((each) => each.name === "length");
            latent.connect(1, window.schedule, input);
        }"""
    )
    time.sleep(0.5)
    assert hand.page.evaluate(STATE)["segments"][1]["start"] == 80


def test_it_works_inside_a_subgraph(hand):
    hand.make()
    made = hand.page.evaluate(
        """async () => {
            if (!window.app.graph.convertToSubgraph) return false;
            const { node } = window.app.graph.convertToSubgraph(new Set([window.schedule]));
            await new Promise((resolve) => setTimeout(resolve, 300));
            window.outer = node;
            window.app.canvas.openSubgraph?.(node.subgraph, node);
            await new Promise((resolve) => setTimeout(resolve, 500));
            window.schedule = node.subgraph.nodes.find((each) => each.type === "MultiPromptSchedule");
            return Boolean(window.schedule);
        }"""
    )
    assert made
    state = hand.page.evaluate(
        STATE.replace("(await window.app.graphToPrompt()).output[node.id].inputs",
                      "Object.values((await window.app.graphToPrompt()).output)"
                      ".find((each) => each.class_type === 'MultiPromptSchedule').inputs")
    )  # fmt: skip
    assert state["queued"]["prompts"] == state["text"] == TEXT
    assert state["cost"].startswith("4 windows, ")  # the sampler outside is found
    hand.page.evaluate("() => window.schedule.widgets.find((each) => each.name === 'timeline').timeline.remove(1)")
    time.sleep(0.5)
    assert "high waves" not in hand.page.evaluate(
        "() => window.schedule.widgets.find((w) => w.name === 'prompts').value"
    )
    hand.page.evaluate("() => window.app.canvas.setGraph(window.app.rootGraph ?? window.app.graph)")


def test_a_text_that_a_subgraph_shows_is_changed_there(hand):
    """The text as an input of the subgraph, whose own widget then holds it."""
    hand.make()
    promoted = hand.page.evaluate(
        """async () => {
            const { node } = window.app.graph.convertToSubgraph(new Set([window.schedule]));
            await new Promise((resolve) => setTimeout(resolve, 300));
            const inner = node.subgraph.nodes.find((each) => each.type === "MultiPromptSchedule");
            const slot = inner.inputs.findIndex((each) => each.name === "prompts");
            node.subgraph.addInput("prompts", "STRING").connect(inner.inputs[slot], inner);
            await new Promise((resolve) => setTimeout(resolve, 300));
            window.outer = node;
            window.schedule = inner;
            return node.widgets.map((each) => [each.name, each.value]);
        }"""
    )
    assert ["prompts", TEXT] in promoted
    hand.page.evaluate(REMOVE, 1)
    hand.page.evaluate(STATE.split("return {")[0] + "}")
    changed = hand.page.evaluate("() => window.outer.widgets.find((each) => each.name === 'prompts').value")
    assert changed == TEXT.replace("5s [ease 12]: high waves\n", "")
    queued = hand.page.evaluate(
        "async () => Object.values((await window.app.graphToPrompt()).output)"
        ".find((each) => each.class_type === 'MultiPromptSchedule').inputs.prompts"
    )
    assert queued == changed


def test_no_error_reached_the_console(hand):
    ours = [m for m in hand.page.messages if m[0] in ("error", "pageerror") and "long_video_pack" in f"{m[1]}{m[2]}"]
    assert not ours
