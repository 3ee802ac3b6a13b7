// Figures as people read them. A missing one is a dash.

export const DASH = "–";
const MINUTE = 60;
const HOUR = 3600;
const DAY = 86400;

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });
const set = new Intl.NumberFormat("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 6 });
const clock = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
});
const date = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const dateTime = new Intl.DateTimeFormat("en-GB", {
  day: "numeric",
  month: "short",
  year: "numeric",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
});

const missing = (value) => value === null || value === undefined || Number.isNaN(value);

export function count(value) {
  if (missing(value)) return DASH;
  return Math.abs(value) >= 100000 ? compact.format(value) : whole.format(value);
}

/** `1 request`, `1,204 requests`. */
export const counted = (value, noun) => `${count(value)} ${noun}${value === 1 ? "" : "s"}`;

/** A number a second. */
export function rate(value) {
  if (missing(value)) return DASH;
  if (value === 0) return "0";
  if (value < 0.1) return value.toFixed(2);
  if (value < 100) return value.toFixed(1);
  return count(value);
}

/** Milliseconds, as `840 ms` or `1.24 s`. */
export function duration(ms) {
  if (missing(ms)) return DASH;
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 10000) return `${(ms / 1000).toFixed(2)} s`;
  if (ms < MINUTE * 1000) return `${(ms / 1000).toFixed(1)} s`;
  return span(ms / 1000);
}

/** Seconds, as `12 s`, `4 min`, `3 h` or `2 d`. */
export function span(seconds) {
  if (missing(seconds)) return DASH;
  if (seconds < MINUTE) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < HOUR) return `${Math.round(seconds / MINUTE)} min`;
  if (seconds < 2 * DAY) return `${Math.round(seconds / HOUR)} h`;
  return `${Math.round(seconds / DAY)} d`;
}

/** A share of 0 to 1, with as many digits as tell. */
export function percent(share) {
  if (missing(share)) return DASH;
  const value = share * 100;
  if (value === 0 || value === 100) return `${value}%`;
  if (value > 99.9) return "> 99.9%";
  return `${value < 10 ? value.toFixed(value < 0.1 ? 2 : 1) : value.toFixed(1)}%`;
}

/** US dollars: cents where they tell, more digits below one. */
export function money(dollars) {
  if (missing(dollars)) return DASH;
  if (dollars === 0) return "$0.00";
  if (Math.abs(dollars) < 0.001) return `$${dollars.toFixed(6)}`;
  if (Math.abs(dollars) < 1) return `$${dollars.toFixed(4)}`;
  if (Math.abs(dollars) < 1000) return `$${dollars.toFixed(2)}`;
  return `$${count(dollars)}`;
}

/** US dollars that somebody has set: no more digits than were meant. */
export const price = (dollars) => (missing(dollars) ? DASH : `$${set.format(dollars)}`);

const moment = (text) => (text ? new Date(text) : null);

export const time = (text) => (text ? clock.format(moment(text)) : DASH);
export const fullTime = (text) => (text ? dateTime.format(moment(text)) : DASH);
/** A day such as `2026-11-21`, which is of UTC. */
export const day = (text) => date.format(new Date(`${text}T12:00:00Z`));

/** How long ago, by this machine's clock, which may differ a little from the server's. */
export function ago(text, now = Date.now()) {
  if (!text) return "never";
  const seconds = (now - moment(text).getTime()) / 1000;
  return seconds < 2 ? "just now" : `${span(seconds)} ago`;
}

/** How long until then. */
export function until(text, now = Date.now()) {
  if (!text) return DASH;
  const seconds = (moment(text).getTime() - now) / 1000;
  return seconds <= 0 ? "now" : `in ${span(seconds)}`;
}

/** `UPSTREAM_TIMEOUT` or `upstream_timeout` as `upstream timeout`. */
export const words = (reason) =>
  String(reason ?? "")
    .toLowerCase()
    .replaceAll("_", " ");
