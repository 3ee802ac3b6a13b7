// Spend: what requests used and cost, by day, model and key.

import { Timeline } from "./charts.js";
import { h, setText } from "./dom.js";
import { feeds, period } from "./feeds.js";
import { count, counted, day, duration, money, price } from "./format.js";
import { barList, card, empty, fed, skeleton } from "./parts.js";

const DAY_MS = 86400000;
const PERIODS = [
  ["month", "This month", () => undefined],
  ["today", "Today", () => `${new Date().toISOString().slice(0, 10)}T00:00:00Z`],
  ["week", "7 days", () => daysAgo(6)],
  ["days30", "30 days", () => daysAgo(29)],
];

const daysAgo = (days) =>
  `${new Date(Date.now() - days * DAY_MS).toISOString().slice(0, 10)}T00:00:00Z`;
const tokens = (sum) => sum.prompt_tokens + sum.completion_tokens;
const nothing = () =>
  empty(
    "Nothing was used yet",
    "Every chat, completion and embedding is counted here within two seconds.",
  );

/** Sums as bars: of the cost, or of tokens where nothing cost anything. */
function bars(label, naming) {
  const list = barList(label, nothing());
  return {
    node: list.node,
    update(usage, more = () => ({})) {
      const value = usage.total.cost_usd > 0 ? (sum) => sum.cost_usd : tokens;
      const top = Math.max(...usage.sums.map(value), 1e-12);
      const rows = usage.sums.map((sum) => ({
        ...naming(sum),
        shown: money(sum.cost_usd),
        share: value(sum) / top,
        detail: detail(sum),
        ...more(sum),
      }));
      list.update(rows);
    },
  };
}

function detail(sum) {
  const failed = sum.failed_requests ? `, ${count(sum.failed_requests)} failed` : "";
  const unpriced = sum.unpriced_requests ? `, ${count(sum.unpriced_requests)} without a price` : "";
  return `${counted(sum.requests, "request")}${failed} · ${counted(tokens(sum), "token")}${unpriced}`;
}

export function modelBars() {
  return bars("Spend by model", (sum) => ({
    key: `${sum.provider}\n${sum.model}`,
    label: sum.provider
      ? `${sum.provider}/${sum.model}`
      : `${sum.model || "unknown"} (nobody answered)`,
  }));
}

/** Keys, with what is left of a monthly budget where the period is the month. */
function keyBars() {
  const list = bars("Spend by key", (sum) => ({
    key: `${sum.key_id ?? 0}\n${sum.tenant}`,
    label: keyName(sum),
  }));
  return {
    node: list.node,
    update(usage, keys) {
      const budgets = new Map(
        (keys?.api_keys ?? []).map((key) => [key.id, key.limits?.monthly_budget_usd]),
      );
      list.update(usage, (sum) =>
        period.id === "month" ? budgeted(sum, budgets.get(sum.key_id)) : {},
      );
    },
  };
}

const keyName = (sum) =>
  (sum.key_id === undefined
    ? sum.tenant
      ? "without a key"
      : "AILB itself"
    : sum.key_name || `key ${sum.key_id}`) + (sum.tenant ? ` · ${sum.tenant}` : "");

function budgeted(sum, budget) {
  if (!budget) return {};
  const share = sum.cost_usd / budget;
  const kind = share >= 1 ? "bad" : share >= 0.8 ? "warn" : "ok";
  return {
    share,
    kind,
    shown: `${money(sum.cost_usd)} of ${price(budget)}`,
    detail: `${detail(sum)} · ${Math.round(share * 100)}% of its budget`,
  };
}

function figure(label) {
  const value = h("span", { class: "tile-value" }, skeleton(1));
  const note = h("span", { class: "tile-note" });
  return {
    node: h("div", { class: "tile" }, h("span", { class: "tile-label", text: label }), value, note),
    set(shown, told) {
      value.replaceChildren(shown);
      setText(note, told);
    },
  };
}

function figures() {
  const parts = {
    cost: figure("Cost"),
    requests: figure("Requests"),
    tokens: figure("Tokens"),
    latency: figure("Latency, mean"),
  };
  return {
    node: h(
      "section",
      { class: "tiles", "aria-label": "Totals" },
      ...Object.values(parts).map((part) => part.node),
    ),
    update({ total }) {
      parts.cost.set(
        money(total.cost_usd),
        total.unpriced_requests
          ? `${counted(total.unpriced_requests, "request")} had no price`
          : "every request had a price",
      );
      parts.requests.set(
        count(total.requests),
        `${count(total.failed_requests)} failed, ${count(total.cancelled_requests)} left by the caller`,
      );
      parts.tokens.set(
        count(tokens(total)),
        `${count(total.prompt_tokens)} in (${count(total.cached_tokens)} cached), ${count(total.completion_tokens)} out`,
      );
      parts.latency.set(
        duration(total.avg_latency_ms),
        `first token ${duration(total.avg_first_token_ms)}`,
      );
    },
  };
}

function dayChart() {
  return new Timeline({
    label: "Spend by day",
    kind: "bars",
    series: [{ className: "bar-ok", value: (sum) => sum.value }],
    format: price,
    least: 0.000001,
    from: null,
    to: "today",
    tell: (sum) => [
      ["Cost", money(sum.cost_usd)],
      ["Requests", count(sum.requests)],
      ["Tokens", count(tokens(sum))],
    ],
  });
}

/** Each day of the period until today, in UTC as the ledger counts. */
function days(usage) {
  const sums = new Map(usage.sums.map((sum) => [sum.day, sum]));
  const today = new Date().toISOString().slice(0, 10);
  const first = (period.start() ?? `${today.slice(0, 7)}-01`).slice(0, 10);
  const all = [];
  for (let at = Date.parse(first); at <= Date.parse(today); at += DAY_MS) {
    const name = new Date(at).toISOString().slice(0, 10);
    const sum = sums.get(name) ?? {
      cost_usd: 0,
      requests: 0,
      prompt_tokens: 0,
      completion_tokens: 0,
    };
    all.push({ ...sum, value: sum.cost_usd, label: day(name) });
  }
  return all;
}

function chooser() {
  const choose = (id, start) => {
    Object.assign(period, { id, start });
    for (const feed of [feeds.byDay, feeds.byModel, feeds.byKey]) feed.again();
  };
  const options = PERIODS.map(([id, label, start]) =>
    h(
      "label",
      {},
      h("input", {
        type: "radio",
        name: "period",
        value: id,
        checked: id === period.id,
        on: { change: () => choose(id, start) },
      }),
      h("span", { text: label }),
    ),
  );
  return h(
    "fieldset",
    { class: "segments" },
    h("legend", { class: "sr", text: "Period" }),
    ...options,
  );
}

export const spend = {
  title: "Spend",
  subtitle: "The usage ledger of all instances, in US dollars; days are UTC.",
  mount() {
    period.id ??= "month";
    const totals = figures();
    const chart = dayChart();
    const models = modelBars();
    const keys = keyBars();
    const parts = [
      fed(feeds.byDay, 6, chart.node, (usage) => {
        totals.update(usage);
        chart.update(days(usage));
      }),
      fed(feeds.byModel, 6, models.node, (usage) => models.update(usage)),
      fed(feeds.byKey, 6, keys.node, (usage) => keys.update(usage, feeds.keys.value)),
    ];
    const leave = feeds.keys.watch(
      () => feeds.byKey.value && keys.update(feeds.byKey.value, feeds.keys.value),
    );
    const [byDay, byModel, byKey] = parts.map((part) => part.node);
    const node = h(
      "div",
      { class: "stack" },
      chooser(),
      totals.node,
      card("By day", {}, byDay),
      h("div", { class: "columns" }, card("By model", {}, byModel), card("By key", {}, byKey)),
    );
    return {
      node,
      leave: () => [leave, ...parts.map((part) => part.leave)].forEach((each) => each()),
    };
  },
};
