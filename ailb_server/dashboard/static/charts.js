// Charts as SVG, drawn here. Each says in words what it shows, and can be walked with arrow keys.

import { h, s, setAttribute, setText } from "./dom.js";

const PAD = { top: 10, right: 4, bottom: 22, left: 54 };
const WIDEST = 56;
const SMALL = { width: 120, height: 30 };

/** A line without axes, beside its number; `null` values leave gaps. */
export function sparkline() {
  const area = s("path", { class: "spark-area" });
  const stroke = s("path", { class: "spark-line", "vector-effect": "non-scaling-stroke" });
  const node = s(
    "svg",
    {
      class: "spark",
      viewBox: `0 0 ${SMALL.width} ${SMALL.height}`,
      preserveAspectRatio: "none",
      "aria-hidden": "true",
    },
    area,
    stroke,
  );
  return {
    node,
    update(values) {
      const top = Math.max(...values.map((value) => value ?? 0), 1e-9);
      const x = (index) => (index / Math.max(1, values.length - 1)) * SMALL.width;
      const y = (value) => SMALL.height - 2 - (value / top) * (SMALL.height - 5);
      const d = linePath(values, x, y);
      setAttribute(stroke, "d", d);
      const filled = values.every((value) => value !== null && value !== undefined);
      setAttribute(
        area,
        "d",
        filled && d ? `${d}L${SMALL.width} ${SMALL.height}L0 ${SMALL.height}Z` : null,
      );
    },
  };
}

/** A path through the values; one that stands alone is a short stroke. */
function linePath(values, x, y) {
  let d = "";
  values.forEach((value, index) => {
    if (value === null || value === undefined) return;
    const begins = index === 0 || (values[index - 1] ?? null) === null;
    const alone = begins && (values[index + 1] ?? null) === null;
    d += `${begins ? "M" : "L"}${x(index).toFixed(1)} ${y(value).toFixed(1)}`;
    if (alone) d += "h0.01";
  });
  return d;
}

/**
 * A chart over time. `series`: `{name, className, value(slot)}`, stacked bars or lines as `kind`
 * says; `format(value)` writes the axis, `tell(slot)` a slot's figures for the eye and the ear.
 * Slots have a `label`; `from` (if null, the first slot's label) and `to` are the axis' ends.
 * `least` is the lowest top that the axis may have.
 */
export class Timeline {
  #plan;
  #slots = [];
  #cursor = -1;
  #width = 0;
  #tip = h("div", { class: "tip", hidden: true });
  #picture = s("svg", { class: "chart-picture", "aria-hidden": "true", focusable: "false" });

  constructor(plan) {
    this.#plan = { to: "now", least: 0, ...plan };
    const { label, kind } = plan;
    const role = {
      tabindex: "0",
      role: "slider",
      "aria-label": label,
      "aria-orientation": "horizontal",
      "aria-valuemin": "0",
    };
    this.node = h("div", { class: `chart chart-${kind}`, ...role }, this.#picture, this.#tip);
    this.#listen();
  }

  update(slots) {
    this.#slots = slots;
    setAttribute(this.node, "aria-valuemax", Math.max(0, slots.length - 1));
    this.#draw();
  }

  #listen() {
    const { node } = this;
    node.addEventListener("pointermove", (event) => this.#move(this.#at(event.clientX)));
    node.addEventListener("pointerleave", () => this.#move(-1));
    node.addEventListener("blur", () => this.#move(-1));
    node.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(([entry]) => {
      this.#width = Math.round(entry.contentRect.width);
      this.#draw();
    }).observe(node);
  }

  #at(clientX) {
    const inner = clientX - this.node.getBoundingClientRect().left - PAD.left;
    const share = inner / (this.#width - PAD.left - PAD.right);
    return Math.max(0, Math.floor(share * this.#slots.length));
  }

  #key(event) {
    const last = this.#slots.length - 1;
    const now = this.#cursor < 0 ? last + 1 : this.#cursor;
    const [before, after] = [Math.max(0, now - 1), now + 1];
    const arrows = { ArrowLeft: before, ArrowDown: before, ArrowRight: after, ArrowUp: after };
    const next = { ...arrows, Home: 0, End: last, Escape: -1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    this.#move(next);
  }

  #move(cursor) {
    this.#cursor = Math.max(-1, Math.min(this.#slots.length - 1, cursor));
    this.#draw();
  }

  #draw() {
    if (!this.#width || !this.#slots.length) return;
    const { kind, series, format, from, to, least } = this.#plan;
    const [slots, width, height] = [this.#slots, this.#width, this.node.clientHeight];
    const box = {
      left: PAD.left,
      right: width - PAD.right,
      top: PAD.top,
      bottom: height - PAD.bottom,
    };
    const top = nice(Math.max(highest(slots, series, kind), least));
    const scale = scales(box, slots.length, top);
    const marks =
      kind === "bars" ? bars(slots, series, scale, this.#name()) : lines(slots, series, scale);
    const ends = [from ?? slots[0].label, to];
    setAttribute(this.#picture, "viewBox", `0 0 ${width} ${height}`);
    this.#picture.replaceChildren(
      ...axes(box, top, format, ends),
      ...marks,
      ...this.#line(box, scale),
    );
    this.#tell(scale);
  }

  #name() {
    return `chart-${this.#plan.label.replace(/\W+/g, "-").toLowerCase()}`;
  }

  #line(box, scale) {
    if (this.#cursor < 0) return [];
    const x = scale.mid(this.#cursor);
    return [s("line", { class: "cursor", x1: x, x2: x, y1: box.top, y2: box.bottom })];
  }

  /** Says a slot's figures: the cursor's, or without one the newest. */
  #tell(scale) {
    const at = this.#cursor < 0 ? this.#slots.length - 1 : this.#cursor;
    const slot = this.#slots[at];
    const figures = this.#plan.tell(slot);
    const words = figures.map(([name, value]) => `${name} ${value}`).join(", ");
    setAttribute(this.node, "aria-valuenow", at);
    setAttribute(this.node, "aria-valuetext", `${slot.label}: ${words}`);
    this.#tip.hidden = this.#cursor < 0;
    if (!this.#tip.hidden) showTip(this.#tip, slot.label, figures, scale.mid(at), this.#width);
  }
}

function showTip(tip, label, figures, x, width) {
  const rows = figures.flatMap(([name, value]) => [
    h("dt", { text: name }),
    h("dd", { text: value }),
  ]);
  tip.replaceChildren(h("p", { text: label }), h("dl", {}, ...rows));
  const beyond = x > width / 2;
  tip.style.setProperty("inset-inline-start", beyond ? "auto" : `${x + 10}px`);
  tip.style.setProperty("inset-inline-end", beyond ? `${width - x + 10}px` : "auto");
}

function highest(slots, series, kind) {
  const values = slots.map((slot) => {
    const each = series.map((one) => one.value(slot) ?? 0);
    return kind === "bars" ? each.reduce((sum, value) => sum + value, 0) : Math.max(...each);
  });
  return Math.max(...values);
}

/** The next number that people count by. */
function nice(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((step) => step * power >= value * 0.999) * power;
}

function scales(box, count, top) {
  const step = (box.right - box.left) / count;
  return {
    step,
    left: (index) => box.left + index * step,
    mid: (index) => box.left + (index + 0.5) * step,
    y: (value) => box.bottom - (value / top) * (box.bottom - box.top),
  };
}

function axes(box, top, format, [from, to]) {
  const marks = [0, 0.5, 1].flatMap((share) => {
    const y = Math.round(box.bottom - share * (box.bottom - box.top)) + 0.5;
    return [
      s("line", { class: share ? "grid" : "base", x1: box.left, x2: box.right, y1: y, y2: y }),
      text(box.left - 8, y + 4, "end", format(top * share)),
    ];
  });
  return [
    ...marks,
    text(box.left, box.bottom + 16, "start", from),
    text(box.right, box.bottom + 16, "end", to),
  ];
}

function text(x, y, anchor, words) {
  const node = s("text", { class: "axis", x, y, "text-anchor": anchor });
  setText(node, words);
  return node;
}

function bars(slots, series, scale, id) {
  const width = Math.max(1, Math.min(WIDEST, scale.step - Math.min(3, scale.step * 0.3)));
  const before = (scale.step - width) / 2;
  const drawn = slots.flatMap((slot, index) => {
    let below = 0;
    return series.map((one) => {
      const value = one.value(slot);
      if (!value) return null;
      const [y1, y2] = [scale.y(below + value), scale.y(below)];
      below += value;
      return s("rect", {
        class: one.className,
        x: (scale.left(index) + before).toFixed(2),
        width: width.toFixed(2),
        y: y1.toFixed(2),
        height: Math.max(1, y2 - y1).toFixed(2),
        rx: Math.min(1.5, width / 4),
        fill: one.hatch ? `url(#${id}-${one.hatch})` : null,
      });
    });
  });
  const hatches = series.filter((one) => one.hatch).map((one) => hatch(id, one.hatch));
  return [s("defs", {}, ...hatches), ...drawn.filter(Boolean)];
}

/** Stripes, so that not only the colour tells: `bad` leans, `warn` lies. */
function hatch(id, kind) {
  const turn = kind === "bad" ? "rotate(45)" : "rotate(90)";
  return s(
    "pattern",
    {
      id: `${id}-${kind}`,
      class: `hatch-${kind}`,
      width: 4,
      height: 4,
      patternUnits: "userSpaceOnUse",
      patternTransform: turn,
    },
    s("rect", { class: "hatch-ground", width: 4, height: 4 }),
    s("rect", { class: "hatch-line", width: 2, height: 4 }),
  );
}

function lines(slots, series, scale) {
  return series.map((one) =>
    s("path", {
      class: `line ${one.className}`,
      d: linePath(
        slots.map((slot) => one.value(slot) ?? null),
        scale.mid,
        scale.y,
      ),
    }),
  );
}

/** What the colours and shapes of a chart mean. */
export function legend(...entries) {
  return h(
    "ul",
    { class: "legend" },
    ...entries.map(([name, className]) =>
      h("li", {}, h("span", { class: `swatch ${className}`, "aria-hidden": "true" }), name),
    ),
  );
}
