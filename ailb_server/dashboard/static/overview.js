// The overview: is all well, how much passes, how fast, what it costs.

import { legend, sparkline, Timeline } from "./charts.js";
import { decisionFeed } from "./decisions.js";
import { h, icon, setText } from "./dom.js";
import { feeds } from "./feeds.js";
import { count, duration, money, percent, rate, time } from "./format.js";
import { card, fed, skeleton } from "./parts.js";
import { modelBars } from "./spend.js";
import { order, targetTable } from "./targets.js";

const SHOWN = 6;

/** One figure with its line. */
function tile(label) {
  const value = h("span", { class: "tile-value" }, skeleton(1));
  const note = h("span", { class: "tile-note" });
  const spark = sparkline();
  return {
    node: h(
      "div",
      { class: "tile" },
      h("span", { class: "tile-label", text: label }),
      value,
      spark.node,
      note,
    ),
    set(shown, told, values) {
      const [, number, unit] = /^(\S+)(?:\s(.+))?$/.exec(shown);
      value.replaceChildren(number, ...(unit ? [h("small", { text: ` ${unit}` })] : []));
      setText(note, told);
      spark.update(values);
    },
  };
}

function tiles() {
  const parts = {
    requests: tile("Requests per second"),
    errors: tile("Failed"),
    latency: tile("Latency, median"),
    ttft: tile("First token, median"),
    tokens: tile("Tokens per second"),
    spend: tile("Spend this month"),
  };
  return {
    parts,
    node: h(
      "section",
      { class: "tiles", "aria-label": "Now" },
      ...Object.values(parts).map((part) => part.node),
    ),
  };
}

const answered = (slot) =>
  slot.requests - slot.failed_requests - slot.refused_requests - slot.cancelled_requests;
const failedShare = (slot) => (slot.requests ? slot.failed_requests / slot.requests : null);

function showTraffic(parts, traffic) {
  const { last_minute: minute, last_minute_s: seconds, slots, slot_s: slotS } = traffic;
  const tokens = (slot) => slot.prompt_tokens + slot.completion_tokens;
  const running = `${count(traffic.active_requests)} running now`;
  parts.requests.set(
    rate(minute.requests / seconds),
    running,
    slots.map((slot) => slot.requests),
  );
  parts.errors.set(
    percent(failedShare(minute)),
    `${count(minute.failed_requests)} of ${count(minute.requests)}, ${count(minute.refused_requests)} refused`,
    slots.map((slot) => failedShare(slot) ?? 0),
  );
  parts.latency.set(
    duration(minute.latency?.p50_ms),
    `p95 ${duration(minute.latency?.p95_ms)}`,
    slots.map((slot) => slot.latency?.p50_ms ?? null),
  );
  parts.ttft.set(
    duration(minute.ttft?.p50_ms),
    `p95 ${duration(minute.ttft?.p95_ms)}`,
    slots.map((slot) => slot.ttft?.p50_ms ?? null),
  );
  parts.tokens.set(
    rate(tokens(minute) / seconds),
    `${count(minute.prompt_tokens)} in, ${count(minute.completion_tokens)} out`,
    slots.map((slot) => tokens(slot) / slotS),
  );
}

/** A line for each day of the month until now; days without requests have no sum. */
function showMonth(part, usage) {
  const today = new Date().toISOString().slice(0, 10);
  const sums = new Map(usage.sums.map((sum) => [sum.day, sum.cost_usd]));
  const days = Array.from(
    { length: Number(today.slice(8)) },
    (_, index) => `${today.slice(0, 8)}${String(index + 1).padStart(2, "0")}`,
  );
  part.set(
    money(usage.total.cost_usd),
    `${money(sums.get(today) ?? 0)} today`,
    days.map((each) => sums.get(each) ?? 0),
  );
}

function trafficChart() {
  return new Timeline({
    label: "Requests, the last ten minutes",
    kind: "bars",
    series: [
      { className: "bar-ok", value: (slot) => slot.well },
      { className: "bar-gone", value: (slot) => slot.cancelled },
      { className: "bar-warn", value: (slot) => slot.refused, hatch: "warn" },
      { className: "bar-bad", value: (slot) => slot.failed, hatch: "bad" },
    ],
    format: (value) => `${rate(value)}/s`,
    least: 0.1,
    from: "10 min ago",
    tell: (slot) => [
      ["Answered", count(answered(slot))],
      ["Caller left", count(slot.cancelled_requests)],
      ["Refused", count(slot.refused_requests)],
      ["Failed", count(slot.failed_requests)],
    ],
  });
}

function latencyChart() {
  return new Timeline({
    label: "Latency, the last ten minutes",
    kind: "lines",
    series: [
      { className: "line-p95", value: (slot) => slot.latency?.p95_ms },
      { className: "line-p50", value: (slot) => slot.latency?.p50_ms },
      { className: "line-ttft", value: (slot) => slot.ttft?.p50_ms },
    ],
    format: (value) => (value ? duration(value).replace(".0 ", " ") : "0"),
    least: 10,
    from: "10 min ago",
    tell: (slot) => [
      ["Median", duration(slot.latency?.p50_ms)],
      ["p95", duration(slot.latency?.p95_ms)],
      ["First token", duration(slot.ttft?.p50_ms)],
    ],
  });
}

/** What the charts draw of a slot: numbers a second. */
function drawn(traffic) {
  return traffic.slots.map((slot) => ({
    ...slot,
    label: `${time(slot.start)}, ${traffic.slot_s} s`,
    well: answered(slot) / traffic.slot_s,
    cancelled: slot.cancelled_requests / traffic.slot_s,
    refused: slot.refused_requests / traffic.slot_s,
    failed: slot.failed_requests / traffic.slot_s,
  }));
}

const more = (href, words) => h("a", { class: "more", href }, words, icon("i-arrow"));

const KINDS = [
  ["Answered", "bar-ok"],
  ["Caller left", "bar-gone"],
  ["Refused", "bar-warn"],
  ["Failed", "bar-bad"],
];
const STROKES = [
  ["Median", "line-p50"],
  ["p95", "line-p95"],
  ["First token", "line-ttft"],
];

function layout([top, requests, latency, targets, decisions, spend]) {
  const charts = [
    card("Requests", { action: legend(...KINDS) }, requests),
    card("Latency", { action: legend(...STROKES) }, latency),
  ];
  const lists = [
    card("Targets", { action: more("#targets", "All targets") }, targets),
    card("Latest decisions", { action: more("#routing", "All decisions") }, decisions),
  ];
  return h(
    "div",
    { class: "stack" },
    top,
    h("div", { class: "columns" }, ...charts),
    h("div", { class: "columns wide-first" }, ...lists),
    card("Spend by model, this month", { action: more("#spend", "All spend") }, spend),
  );
}

export const overview = {
  title: "Overview",
  subtitle: "What this gateway does right now.",
  mount() {
    const top = tiles();
    const requests = trafficChart();
    const latency = latencyChart();
    const targets = targetTable({ short: true });
    const decisions = decisionFeed({ short: true });
    const models = modelBars();
    const targetBox = fed(feeds.stats, 5, targets.node, (stats) =>
      targets.update(stats.targets.slice().sort(order).slice(0, SHOWN)),
    );
    const decisionBox = fed(feeds.decisions, 6, decisions.node, (told) =>
      decisions.update(told.decisions.slice(0, SHOWN)),
    );
    const spend = fed(feeds.monthByModel, 4, models.node, (usage) =>
      models.update({ ...usage, sums: usage.sums.filter((sum) => sum.provider) }),
    );
    const leaves = [
      feeds.traffic.watch(({ value }) => {
        if (!value) return;
        showTraffic(top.parts, value);
        requests.update(drawn(value));
        latency.update(drawn(value));
      }),
      feeds.month.watch(({ value }) => value && showMonth(top.parts.spend, value)),
    ];
    const node = layout(
      [top, requests, latency, targetBox, decisionBox, spend].map((part) => part.node),
    );
    return {
      node,
      leave: () =>
        [...leaves, targetBox.leave, decisionBox.leave, spend.leave].forEach((leave) => leave()),
    };
  },
};
