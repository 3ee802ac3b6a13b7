// Routing decisions: who was asked for a request, in what order, who was not, and how it ended.

import { h, icon, keyed, setAttribute, setText } from "./dom.js";
import { feeds } from "./feeds.js";
import { duration, fullTime, time, words } from "./format.js";
import { card, empty, fed } from "./parts.js";
import { outcomeState, pill } from "./status.js";

const SKIPPED_SHOWN = 3;

/** A list of decisions; each is folded out to its attempts and to who was left out. */
export function decisionFeed({ short = false } = {}) {
  const list = h("ol", {
    class: `decisions ${short ? "short" : ""}`,
    "aria-label": "Decisions, newest first",
  });
  const none = empty("No decision yet", "Each request that is routed leaves one here.");
  return {
    node: h("div", {}, list, none),
    update(decisions) {
      none.hidden = decisions.length > 0;
      list.hidden = decisions.length === 0;
      const seen = new Map();
      const keyOf = (decision) => {
        // Two may have been made in one millisecond.
        const same = `${decision.at} ${decision.model}`;
        return (
          seen.get(decision) ??
          (seen.set(
            decision,
            `${same} ${[...seen.values()].filter((key) => key.startsWith(same)).length}`,
          ),
          seen.get(decision))
        );
      };
      keyed(list, decisions, keyOf, short ? shortRow : fullRow);
    },
  };
}

function line() {
  const at = h("time", { class: "decision-time" });
  const model = h("span", { class: "decision-model strong" });
  const way = h("span", { class: "way" });
  const state = pill();
  const waited = h("span", { class: "decision-waited" });
  return {
    nodes: [at, model, way, state.node, waited],
    set(decision) {
      setText(at, time(decision.at));
      setAttribute(at, "datetime", decision.at);
      setAttribute(at, "title", fullTime(decision.at));
      setText(model, decision.model);
      keyed(way, steps(decision), (step) => step.key, stepPart);
      state.set(outcomeState(decision.outcome));
      setText(waited, decision.outcome === "pending" ? "" : duration(decision.waited_ms));
    },
  };
}

/** Who was left out, then who was asked. */
function steps(decision) {
  const skipped = decision.skipped
    .slice(0, SKIPPED_SHOWN)
    .map((target) => ({ ...target, kind: "idle", text: `left out: ${words(target.reason)}` }));
  const asked = decision.attempts.map((attempt) => ({
    ...attempt,
    ...outcomeState(attempt.outcome),
  }));
  return [...skipped, ...asked].map((step, index) => ({
    ...step,
    key: `${index}`,
    first: index === 0,
  }));
}

function stepPart(step) {
  const state = h("span", { class: "step" });
  const node = h(
    "span",
    { class: "step-box" },
    step.first ? null : icon("i-arrow", "icon step-arrow"),
    state,
  );
  let shown = "";
  return {
    node,
    update({ kind, text, provider, model, ms }) {
      if (`${kind} ${text} ${provider} ${model}` === shown) return;
      shown = `${kind} ${text} ${provider} ${model}`;
      state.dataset.kind = kind;
      setAttribute(state, "title", ms === undefined ? text : `${text} after ${duration(ms)}`);
      state.replaceChildren(
        icon(`s-${kind}`, "mark"),
        `${provider}/${model}`,
        h("span", { class: "sr", text: `, ${text}` }),
      );
    },
  };
}

function shortRow() {
  const part = line();
  return { node: h("li", { class: "decision" }, ...part.nodes), update: part.set };
}

function fullRow() {
  const part = line();
  const detail = h("div", { class: "decision-detail" });
  const fold = h(
    "details",
    { class: "decision-fold" },
    h("summary", { class: "decision" }, ...part.nodes),
    detail,
  );
  let latest = null;
  const fill = () => fold.open && latest && detail.replaceChildren(...details(latest));
  fold.addEventListener("toggle", fill);
  return {
    node: h("li", {}, fold),
    update(decision) {
      const same = JSON.stringify(decision) === JSON.stringify(latest);
      latest = decision;
      part.set(decision);
      if (!same) fill();
    },
  };
}

function details(decision) {
  const facts = [
    ["Strategy", words(decision.strategy)],
    ["Order", decision.order.join(", ") || "nobody could be asked"],
    ...decision.attempts.map((attempt, index) => [
      `Attempt ${index + 1}`,
      `${attempt.provider}/${attempt.model}: ${outcomeState(attempt.outcome).text}, ${duration(attempt.ms)}`,
    ]),
    ...decision.skipped.map((target) => [
      "Left out",
      `${target.provider}/${target.model}: ${words(target.reason)}`,
    ]),
  ];
  return [
    h(
      "dl",
      { class: "facts" },
      ...facts.flatMap(([name, value]) => [h("dt", { text: name }), h("dd", { text: value })]),
    ),
  ];
}

export const routing = {
  title: "Routing",
  subtitle: "The last hundred decisions of this instance: who was asked, who was not, and why.",
  mount() {
    const feed = decisionFeed();
    const box = fed(feeds.decisions, 10, feed.node, ({ decisions }) => feed.update(decisions));
    return {
      node: h(
        "div",
        { class: "stack" },
        card("Decisions", { note: "Enter or a click unfolds one." }, box.node),
      ),
      leave: box.leave,
    };
  },
};
