// The page itself: who may see it, which view is shown, and whether it is live.

import { ApiError, get, key } from "./api.js";
import { memory } from "./memory.js";
import { $, announce, h, icon, keyed, setAttribute, setText } from "./dom.js";
import { prepareDrawer } from "./drawer.js";
import { feeds, line } from "./feeds.js";
import { ago, span } from "./format.js";
import { instances } from "./instances.js";
import { overview } from "./overview.js";
import { playground } from "./playground.js";
import { routing } from "./decisions.js";
import { spend } from "./spend.js";
import { healthState, pill } from "./status.js";
import { targets } from "./targets.js";
import { prepareTheme } from "./appearance.js";

const VIEWS = { overview, targets, routing, spend, memory, playground };
const DEFAULT = "overview";
const AGAIN_MS = 3000;

let shown = null;
let leaveHealth = () => {};

function show(name) {
  const view = VIEWS[name];
  shown?.leave();
  shown = view.mount();
  $("view").replaceChildren(shown.node);
  setText($("title"), view.title);
  setText($("subtitle"), view.subtitle);
  document.title = `${view.title} · AILB`;
  for (const link of $("nav").querySelectorAll("a")) {
    const here = link.hash === `#${name}`;
    setAttribute(link, "aria-current", here ? "page" : null);
    // Not by scrollIntoView: in Chromium, that is where Tab would then go on from.
    if (here) $("nav").scrollLeft = link.offsetLeft - ($("nav").clientWidth - link.offsetWidth) / 2;
  }
  window.scrollTo(0, 0);
}

function route(event) {
  if ($("shell").hidden) return;
  const name = location.hash.slice(1);
  if (name === "content") return;
  show(Object.hasOwn(VIEWS, name) ? name : DEFAULT);
  // Where a reader goes on reading; at first that is the page's beginning.
  if (event) announce(`${$("title").textContent} is shown.`);
}

function openGate(error = null) {
  shown?.leave();
  shown = null;
  leaveHealth();
  $("drawer").close();
  $("view").replaceChildren();
  for (const feed of Object.values(feeds)) feed.reset();
  instances.forget();
  $("shell").hidden = true;
  $("gate").hidden = false;
  document.title = "AILB dashboard";
  refuse(error);
  $("gate-key").focus();
}

function refuse(error) {
  const forKey = {
    401: "This key is not accepted. ",
    403: "This key may not see the dashboard: it takes the role admin. ",
  };
  setText($("gate-error"), error ? `${forKey[error.status] ?? ""}${error.message}` : "");
  setAttribute($("gate-key"), "aria-invalid", error?.isForKey ? "true" : null);
}

function openShell() {
  $("gate").hidden = true;
  $("gate-key").value = "";
  $("shell").hidden = false;
  $("sign-out").hidden = !key.get();
  leaveHealth = feeds.health.watch(showHealth);
  route();
}

/** Whether this key, or none, may see the figures. Rejects with ApiError. */
const probe = (secret) => get("api/routing/stats", { secret });

async function unlock(event) {
  event.preventDefault();
  const secret = $("gate-key").value.trim();
  // A header takes no others; and a key of ours has none.
  if (!/^[\x21-\x7e]+$/.test(secret)) {
    refuse(
      new ApiError(401, secret ? "It has characters that no key has." : "Nothing was entered."),
    );
    $("gate-key").focus();
    return;
  }
  setAttribute($("gate-open"), "disabled", true);
  setText($("gate-error"), "");
  try {
    await probe(secret);
    key.set(secret);
    openShell();
    $("content").focus();
  } catch (error) {
    refuse(error);
    $("gate-key").select();
    $("gate-key").focus();
  } finally {
    setAttribute($("gate-open"), "disabled", null);
  }
}

function showHealth({ value }) {
  if (!value) return;
  const state = healthState(value.state);
  const mark = pill();
  mark.set(state);
  const rows = [
    ["Instance", value.instance],
    ["Version", value.version],
  ];
  $("about").replaceChildren(
    h("div", { class: "about-state" }, mark.node),
    ...rows.flatMap(([name, text]) => [h("dt", { text: name }), h("dd", { text, title: text })]),
  );
  const faulty = (value.components ?? []).filter((part) => part.state !== "HEALTH_STATE_OK");
  notice(state, faulty);
}

function notice(state, faulty) {
  const well = state.kind === "ok" || !faulty.length;
  const text = faulty
    .map((part) => `${part.name}${part.detail ? ` (${part.detail})` : ""}`)
    .join(", ");
  const before = $("notice").firstChild;
  if (well) $("notice").replaceChildren();
  else if (before?.dataset.text !== text) {
    $("notice").replaceChildren(
      h(
        "p",
        { class: "notice", "data-kind": state.kind, "data-text": text, role: "status" },
        icon(`s-${state.kind}`, "mark"),
        h("b", { text: `${state.text}: ` }),
        text,
      ),
    );
  }
}

function lineState() {
  if (line.paused) return { kind: "idle", text: "Paused" };
  const trouble = line.trouble();
  if (!trouble) {
    const fresh = line.freshAt();
    return {
      kind: "ok",
      text: fresh ? `Live · ${ago(new Date(fresh).toISOString())}` : "Connecting",
    };
  }
  const again = `again in ${span(Math.max(0, (trouble.nextAt - Date.now()) / 1000))}`;
  if (trouble.error.status === 0) return { kind: "bad", text: `No answer · ${again}` };
  return { kind: "warn", text: `Not all is up to date · ${again}`, title: trouble.error.message };
}

const showLine = () => livePill.set(lineState());

const livePill = pill();

function togglePause() {
  line.pause(!line.paused);
  const label = line.paused ? "Resume updates" : "Pause updates";
  const button = $("pause");
  button.replaceChildren(icon(line.paused ? "i-resume" : "i-pause", ""));
  setAttribute(button, "aria-pressed", String(line.paused));
  setAttribute(button, "aria-label", label);
  setAttribute(button, "title", label);
  showLine();
}

function showInstances() {
  const names = instances.names();
  keyed(
    $("instance"),
    names,
    (name) => name,
    (name) => ({ node: h("option", { value: name, text: name }) }),
  );
  $("instance").value = instances.chosen;
  $("instances").hidden = names.length < 2;
}

function wire() {
  $("live-state").replaceChildren(livePill.node);
  $("gate-form").addEventListener("submit", unlock);
  $("pause").addEventListener("click", togglePause);
  $("skip").addEventListener("click", (event) => {
    event.preventDefault();
    $("content").focus();
  });
  $("sign-out").addEventListener("click", () => {
    key.forget();
    openGate();
  });
  $("instance").addEventListener("change", () => {
    instances.choose($("instance").value);
    for (const feed of [feeds.traffic, feeds.stats, feeds.decisions]) feed.again();
  });
  instances.listeners.add(showInstances);
  line.listeners.add(showLine);
  line.onKeyRefused = (error) => {
    key.forget();
    openGate(error);
  };
  window.addEventListener("hashchange", route);
  setInterval(showLine, 1000);
  prepareDrawer();
  prepareTheme();
}

/** Opens what may be opened; while the gateway does not answer, again and again. */
async function start() {
  document.body.dataset.phase = "ready";
  if (!key.get() && document.documentElement.dataset.key === "asked") {
    openGate();
    return;
  }
  try {
    await probe(key.get());
    openShell();
  } catch (error) {
    openGate(error.isForKey && !key.get() ? null : error);
    if (error.isForKey) key.forget();
    else setTimeout(() => $("gate").hidden || $("gate-key").value || start(), AGAIN_MS);
  }
}

wire();
start();
