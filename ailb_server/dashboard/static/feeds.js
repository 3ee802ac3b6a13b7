// What the page asks for again and again: only what a view shows, never in a hidden tab, and ever
// more seldom while the gateway does not answer.

import { get, getHealth } from "./api.js";
import { instances } from "./instances.js";

const MAX_WAIT_MS = 30000;

/** All feeds' common state: whether they run, and what is told of them. */
export const line = {
  paused: false,
  feeds: new Set(),
  listeners: new Set(),
  onKeyRefused: () => {},

  runs() {
    return !this.paused && !document.hidden;
  },
  pause(paused) {
    this.paused = paused;
    this.changed();
  },
  /** Runs or rests, as it now should. */
  changed() {
    for (const feed of this.feeds) {
      if (this.runs()) feed.wake();
      else feed.rest();
    }
    this.tell();
  },
  tell() {
    for (const listen of this.listeners) listen(this);
  },
  /** The error of the feed that is tried again first, with when; null if all is well. */
  trouble() {
    const failing = [...this.feeds].filter((feed) => feed.error && feed.watched);
    failing.sort((a, b) => a.nextAt - b.nextAt);
    return failing.length ? { error: failing[0].error, nextAt: failing[0].nextAt } : null;
  },
  freshAt() {
    return Math.max(0, ...[...this.feeds].filter((feed) => feed.watched).map((feed) => feed.at));
  },
};

document.addEventListener("visibilitychange", () => line.changed());

export class Feed {
  #load;
  #everyMs;
  #listeners = new Set();
  #timer = 0;
  #abort = null;
  #failures = 0;

  /** `load({signal})` gives the value; asked `everyMs` after the last answer. */
  constructor(load, everyMs) {
    this.#load = load;
    this.#everyMs = everyMs;
    this.value = undefined;
    this.error = null;
    this.at = 0;
    this.nextAt = 0;
    line.feeds.add(this);
  }

  get watched() {
    return this.#listeners.size > 0;
  }

  /** Calls `listen(feed)` with what is there, and after each answer; returns what ends that. */
  watch(listen) {
    this.#listeners.add(listen);
    if (this.value !== undefined || this.error) listen(this);
    if (line.runs()) this.wake();
    return () => {
      this.#listeners.delete(listen);
      if (!this.watched) this.rest();
    };
  }

  /** Asks as soon as its time has come. */
  wake() {
    if (!this.watched || this.#abort || this.#timer) return;
    const waitMs = Math.max(0, this.nextAt - Date.now());
    this.#timer = setTimeout(() => this.#ask(), waitMs);
  }

  /** Asks now, whatever was agreed: what is asked for has changed. */
  again() {
    this.rest();
    this.nextAt = 0;
    this.#failures = 0;
    if (line.runs()) this.wake();
  }

  rest() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#abort?.abort();
    this.#abort = null;
  }

  /** Forgets what it knows: another key may see other things. */
  reset() {
    this.rest();
    Object.assign(this, { value: undefined, error: null, at: 0, nextAt: 0 });
    this.#failures = 0;
  }

  async #ask() {
    this.#timer = 0;
    const abort = (this.#abort = new AbortController());
    try {
      const value = await this.#load({ signal: abort.signal });
      if (abort.signal.aborted) return;
      Object.assign(this, { value, error: null, at: Date.now() });
      this.#failures = 0;
    } catch (error) {
      if (abort.signal.aborted) return;
      this.error = error;
      this.#failures += 1;
      // Not 403: a key may be kept from a part, and see the others.
      if (error.status === 401) line.onKeyRefused(error);
    }
    this.#abort = null;
    this.nextAt = Date.now() + this.#waitMs();
    for (const listen of [...this.#listeners]) listen(this);
    line.tell();
    if (line.runs()) this.wake();
  }

  #waitMs() {
    if (!this.#failures) return this.#everyMs;
    // Not all pages at once, when the gateway is back.
    const spread = 0.75 + Math.random() / 2;
    return Math.min(this.#everyMs * 2 ** this.#failures, MAX_WAIT_MS) * spread;
  }
}

/** Of which period the spend view tells; see spend.js. */
export const period = { start: () => undefined };

const usage = (by) => (options) =>
  get("admin/v1/usage", {
    ...options,
    query: { group_by: by, start_time: period.start(), page_size: 50 },
  });

const ofInstance = (part, path, query) => async (options) =>
  instances.told(part, await get(path, { ...options, query }));

export const feeds = {
  health: new Feed(getHealth, 5000),
  traffic: new Feed(ofInstance("traffic", "api/routing/traffic"), 2000),
  stats: new Feed(ofInstance("stats", "api/routing/stats"), 3000),
  decisions: new Feed(ofInstance("decisions", "api/routing/decisions", { page_size: 100 }), 3000),
  month: new Feed((o) => get("admin/v1/usage", { ...o, query: { group_by: "day" } }), 10000),
  monthByModel: new Feed(
    (o) =>
      get("admin/v1/usage", { ...o, query: { group_by: ["provider", "model"], page_size: 8 } }),
    10000,
  ),
  byDay: new Feed(usage(["day"]), 10000),
  byModel: new Feed(usage(["provider", "model"]), 10000),
  byKey: new Feed(usage(["key", "tenant"]), 10000),
  keys: new Feed((o) => get("admin/v1/keys", { ...o, query: { page_size: 200 } }), 30000),
  sessions: new Feed((o) => get("v1/sessions", { ...o, query: { page_size: 50 } }), 10000),
  collections: new Feed((o) => get("v1/collections", { ...o, query: { page_size: 100 } }), 10000),
  models: new Feed((o) => get("v1/models", o), 30000),
};
