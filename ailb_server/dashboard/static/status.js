// States, told by colour, by shape and in words.

import { h, icon, setAttribute, setText } from "./dom.js";
import { span, words } from "./format.js";

/** A state's mark and words; `set({kind, text, title})`, kinds: ok, warn, bad, idle. */
export function pill() {
  const label = h("span");
  const node = h("span", { class: "pill" });
  let shown = "";
  return {
    node,
    set({ kind, text, title }) {
      if (kind !== shown) {
        shown = kind;
        node.dataset.kind = kind;
        node.replaceChildren(icon(`s-${kind}`, "mark"), label);
      }
      setText(label, text);
      setAttribute(node, "title", title);
    },
  };
}

const name = (state) => String(state ?? "").replace("BREAKER_STATE_", "");

/** A target's state, as `pill` takes it. */
export function targetState(target) {
  const left = target.ready_in_s > 0 ? ` · ${span(Math.ceil(target.ready_in_s))}` : "";
  switch (target.blocked_by) {
    case "credential":
      return {
        kind: "bad",
        text: `Credential refused${left}`,
        title: "The provider refuses AILB's key for it.",
      };
    case "open":
      return {
        kind: "bad",
        text: `Open${left}`,
        title: "It failed too often and is left alone for a while.",
      };
    case "cooling":
      return { kind: "warn", text: `Cooling${left}`, title: "Its provider limits AILB's rate." };
    default:
  }
  if (target.blocked_by === "probing" || name(target.breaker_state) === "HALF_OPEN")
    return {
      kind: "warn",
      text: "Half open",
      title: "It is tried again, by one request at a time.",
    };
  if (!target.total_requests) return { kind: "idle", text: "Not asked yet" };
  return { kind: "ok", text: "Closed", title: "The circuit is closed: it is asked." };
}

/** How many of the targets are in a worse state. */
export function troubled(targets) {
  return targets.filter((target) => ["bad", "warn"].includes(targetState(target).kind)).length;
}

const HEALTH = {
  HEALTH_STATE_OK: { kind: "ok", text: "Healthy" },
  HEALTH_STATE_DEGRADED: { kind: "warn", text: "Degraded" },
  HEALTH_STATE_DOWN: { kind: "bad", text: "Down" },
  HEALTH_STATE_DRAINING: { kind: "warn", text: "Draining" },
};

export const healthState = (state) => HEALTH[state] ?? { kind: "idle", text: "Unknown" };

/** A request's outcome. */
export function outcomeState(outcome) {
  if (outcome === "answered" || outcome === "ok") return { kind: "ok", text: "answered" };
  if (outcome === "pending") return { kind: "idle", text: "under way" };
  if (outcome === "cancelled") return { kind: "idle", text: "caller left" };
  return { kind: "bad", text: words(outcome) };
}
