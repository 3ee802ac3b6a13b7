// The playground's answer: the text as it comes, times and tokens, and the gateway's own headers.

import { h, setText } from "./dom.js";
import { DASH, count, duration, money, rate } from "./format.js";
import { empty } from "./parts.js";
import { pill } from "./status.js";

const HEADERS = /^(x-ailb-|x-ratelimit-|x-request-id$|retry-after$)/;

function facts() {
  const values = new Map();
  const cell = (name) => {
    const value = h("dd", { text: DASH });
    values.set(name, value);
    return h("div", {}, h("dt", { text: name }), value);
  };
  const names = ["First token", "Total", "Tokens in", "Tokens out", "Tokens/s", "Cost"];
  return {
    node: h("dl", { class: "play-facts" }, ...names.map(cell)),
    set: (name, text) => setText(values.get(name), text),
    clear: () => values.forEach((value) => setText(value, DASH)),
  };
}

/** Text that grows: written once a frame, however fast it comes. */
function growing(node, scroller) {
  let waiting = "";
  let frame = 0;
  const write = () => {
    frame = 0;
    const atEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 40;
    node.append(waiting);
    waiting = "";
    if (atEnd) scroller.scrollTop = scroller.scrollHeight;
  };
  return {
    add(text) {
      if (!text) return;
      waiting += text;
      frame ||= requestAnimationFrame(write);
    },
    flush() {
      cancelAnimationFrame(frame);
      if (waiting) write();
      // One piece of text instead of thousands.
      node.normalize();
    },
    clear() {
      cancelAnimationFrame(frame);
      frame = 0;
      waiting = "";
      node.replaceChildren();
    },
  };
}

function headerList() {
  const list = h("dl", { class: "facts" });
  const node = h(
    "details",
    { class: "play-headers", open: true, hidden: true },
    h("summary", { text: "What the gateway told" }),
    list,
  );
  return {
    node,
    clear: () => (node.hidden = true),
    set(headers, status) {
      const told = [
        ["status", String(status)],
        ...[...headers].filter(([name]) => HEADERS.test(name)),
      ];
      list.replaceChildren(
        ...told.flatMap(([name, value]) => [
          h("dt", {}, h("code", { text: name })),
          h("dd", { text: value }),
        ]),
      );
      node.hidden = false;
    },
  };
}

function problem(error) {
  const more = [
    error.status ? `HTTP ${error.status}` : "",
    error.code,
    error.requestId ? `request ${error.requestId}` : "",
    error.retryAfter ? `try again in ${error.retryAfter} s` : "",
  ];
  return h(
    "div",
    { class: "failure" },
    h("p", { class: "failure-title", text: error.message }),
    h("p", { class: "quiet small", text: more.filter(Boolean).join(" · ") }),
  );
}

/** Where the answer's words go. */
function output() {
  const none = empty(
    "No answer yet",
    "Write a message and send it. Tokens appear here as they come.",
  );
  const thoughts = h("p", { class: "play-text" });
  const thinking = h(
    "details",
    { class: "play-thoughts" },
    h("summary", { text: "Reasoning" }),
    thoughts,
  );
  const text = h("p", { class: "play-text", "data-part": "text" });
  const calls = h("pre", { class: "play-calls" });
  const role = { role: "log", "aria-live": "polite", "aria-label": "Answer", tabindex: "0" };
  const node = h("div", { class: "play-output", ...role }, none, thinking, text, calls);
  const growths = [growing(text, node), growing(thoughts, node)];
  const hide = () => {
    for (const part of [thinking, calls]) part.hidden = true;
  };
  hide();
  return {
    node,
    begin() {
      none.hidden = true;
      hide();
      calls.replaceChildren();
      for (const growth of growths) growth.clear();
      node.setAttribute("aria-busy", "true");
    },
    add(words, thought, called) {
      growths[0].add(words);
      growths[1].add(thought);
      if (thought) thinking.hidden = false;
      if (!called) return;
      calls.hidden = false;
      calls.append(`${called}\n`);
    },
    end() {
      for (const growth of growths) growth.flush();
      node.setAttribute("aria-busy", "false");
    },
  };
}

/** Everything that is seen of an answer; the methods are `Run`'s to call. */
export function answer() {
  const mark = pill();
  mark.set({ kind: "idle", text: "Ready" });
  const [words, told, headers] = [output(), facts(), headerList()];
  const trouble = h("div", { role: "alert" });
  const over = (kind, text) => {
    words.end();
    mark.set({ kind, text });
  };
  return {
    node: h("div", { class: "play-body" }, told.node, words.node, trouble, headers.node),
    state: mark.node,
    began() {
      for (const part of [told, headers]) part.clear();
      words.begin();
      trouble.replaceChildren();
      mark.set({ kind: "idle", text: "Waiting for the first token" });
    },
    headers: (all, status) => headers.set(all, status),
    piece(text, thought, called) {
      if (text || thought || called) mark.set({ kind: "ok", text: "Streaming" });
      words.add(text, thought, called);
    },
    ended: (how) => (how === "ok" ? over("ok", "Complete") : over("warn", "Stopped by you")),
    failed(error) {
      over("bad", "Failed");
      trouble.replaceChildren(problem(error));
    },
    figures: (run) => showFigures(told, run),
    cost: (total) => showCost(told, total),
  };
}

function showFigures(told, run) {
  const until = run.ended ?? performance.now();
  const writing = run.first === null ? 0 : (until - run.first) / 1000;
  const out = run.usage?.completion_tokens ?? null;
  told.set("First token", run.first === null ? DASH : duration(run.first - run.began));
  told.set("Total", duration(until - run.began));
  told.set("Tokens in", count(run.usage?.prompt_tokens));
  told.set("Tokens out", out === null ? (run.pieces ? `${run.pieces} so far` : DASH) : count(out));
  told.set("Tokens/s", writing > 0.05 ? rate((out ?? run.pieces) / writing) : DASH);
}

function showCost(told, total) {
  if (total === null) {
    told.set("Cost", "not in the ledger yet");
    return;
  }
  const about = total.estimated_requests ? "≈ " : "";
  told.set("Cost", total.unpriced_requests ? "no price" : `${about}${money(total.cost_usd)}`);
  if (!total.estimated_requests) return;
  told.set("Tokens in", `≈ ${count(total.prompt_tokens)}`);
  told.set("Tokens out", `≈ ${count(total.completion_tokens)}`);
}
