// Targets: each model at each provider, whether it is asked, and how it does.

import { h, setText } from "./dom.js";
import { feeds } from "./feeds.js";
import { ago, count, counted, duration, fullTime, money, percent, words } from "./format.js";
import { card, empty, fed, table, targetName } from "./parts.js";
import { healthState, pill, targetState, troubled } from "./status.js";

const state = {
  head: "Circuit",
  make() {
    const part = pill();
    return { node: part.node, set: (target) => part.set(targetState(target)) };
  },
};
const name = { head: "Target", make: targetName };
const numeric = (head, text, extra = {}) => ({ head, text, className: "number", ...extra });

/** The last failure's reason, and when. */
function lastFailure() {
  const reason = h("span");
  const when = h("span", { class: "quiet small" });
  return {
    node: h("span", { class: "two-lines" }, reason, when),
    set(target) {
      setText(reason, target.last_failure ? words(target.last_failure_reason) : "–");
      setText(when, target.last_failure ? ago(target.last_failure) : "");
    },
  };
}

const COLUMNS = [
  name,
  state,
  numeric("Requests", (target) => count(target.total_requests)),
  numeric("Answered", (target) => percent(target.success_rate), {
    title: (target) =>
      `${target.successful_requests} answered, ${target.failed_requests} failed by its fault, ${target.rejected_requests} refused by the caller's, ${target.abandoned_requests} abandoned`,
  }),
  numeric("In flight", (target) => count(target.in_flight)),
  numeric("p50", (target) => duration(target.latency?.p50_ms)),
  numeric("p95", (target) => duration(target.latency?.p95_ms)),
];
const MORE = [
  numeric("p99", (target) => duration(target.latency?.p99_ms)),
  numeric("First token", (target) => duration(target.ttft?.p50_ms)),
  numeric("Tokens", (target) => count(target.prompt_tokens + target.completion_tokens), {
    title: (target) => `${count(target.prompt_tokens)} in, ${count(target.completion_tokens)} out`,
  }),
  numeric("Cost", (target) => money(target.cost_usd)),
  {
    head: "Last failure",
    make: lastFailure,
    title: (target) => (target.last_failure ? fullTime(target.last_failure) : null),
  },
];

/** The table of targets; `short` leaves out what the targets' own view tells. */
export function targetTable({ short = false } = {}) {
  return table({
    caption: "Targets",
    columns: short ? COLUMNS : [...COLUMNS, ...MORE],
    keyOf: (target) => `${target.provider}\n${target.model}`,
    none: empty("No target yet", "A target appears with the first request that could go to it."),
  });
}

function healthTable() {
  const mark = () => {
    const part = pill();
    return { node: part.node, set: (component) => part.set(healthState(component.state)) };
  };
  return table({
    caption: "Parts",
    columns: [
      { head: "Part", text: (part) => part.name },
      { head: "State", make: mark },
      { head: "Detail", className: "wrap", text: (part) => part.detail || "–" },
    ],
    keyOf: (part) => part.name,
    none: empty("No parts", "This instance told of none."),
  });
}

const worst = { bad: 0, warn: 1, ok: 2, idle: 3 };
/** The troubled ones first, then those that are asked most. */
export const order = (a, b) =>
  worst[targetState(a).kind] - worst[targetState(b).kind] || b.total_requests - a.total_requests;

export const targets = {
  title: "Targets",
  subtitle: "Every model at every provider, since this instance started; the troubled ones first.",
  mount() {
    const grid = targetTable();
    const summary = h("span", { class: "quiet small" });
    const box = fed(feeds.stats, 8, grid.node, ({ targets: all, routing_strategy: strategy }) => {
      grid.update(all.slice().sort(order));
      const bad = troubled(all);
      setText(
        summary,
        `${counted(all.length, "target")}, ${bad ? `${bad} in trouble` : "none in trouble"} · strategy ${words(strategy)}`,
      );
    });
    const health = healthTable();
    const parts = fed(feeds.health, 4, health.node, (report) =>
      health.update(report.components ?? []),
    );
    const node = h(
      "div",
      { class: "stack" },
      card("Targets", { action: summary }, box.node),
      card("Parts of this instance", {}, parts.node),
    );
    return { node, leave: () => [box.leave, parts.leave].forEach((leave) => leave()) };
  },
};
