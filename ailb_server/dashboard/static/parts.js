// What views are made of: cards, tables, lists of bars, and what stands in for figures that are not
// there (yet).

import { h, keyed, setAttribute, setText, s } from "./dom.js";

/** A titled section. `action` is a node at the title's end. */
export function card(title, { className = "", action = null, note = "" } = {}, ...body) {
  const head = h(
    "div",
    { class: "card-head" },
    h("h2", { text: title }),
    note ? h("span", { class: "quiet small", text: note }) : null,
    action,
  );
  return h("section", { class: `card ${className}`, "aria-label": title }, head, ...body);
}

/** What is shown where there is nothing. */
export function empty(title, text, ...more) {
  const mark = s(
    "svg",
    { class: "empty-mark", viewBox: "0 0 48 24", "aria-hidden": "true" },
    s("path", { d: "M2 12h10M12 12c10 0 8-8 18-8h6M12 12h24M12 12c10 0 8 8 18 8h6" }),
  );
  return h(
    "div",
    { class: "empty" },
    mark,
    h("p", { class: "empty-title", text: title }),
    h("p", { class: "quiet", text }),
    ...more,
  );
}

/** A failure in the place where the figures would be. */
export function failure(error, retry) {
  const again = h("button", {
    class: "button small",
    type: "button",
    text: "Try again",
    on: { click: retry },
  });
  const id = error.requestId
    ? h("p", { class: "quiet small" }, "Request ", h("code", { text: error.requestId }))
    : null;
  return h(
    "div",
    { class: "failure" },
    h("p", { class: "failure-title", text: "This could not be loaded." }),
    h("p", { text: error.message }),
    id,
    again,
  );
}

/** Bars in place of text that is still to come. */
export function skeleton(lines) {
  const bars = Array.from({ length: lines }, () => h("span", { class: "bone" }));
  return h("div", { class: "skeleton", "aria-hidden": "true" }, ...bars);
}

/**
 * A box for a feed: a skeleton at first, a failure while nothing ever came, else `content`, which
 * `update(value)` keeps. Returns `{node, leave}`.
 */
export function fed(feed, lines, content, update) {
  const node = h("div", { class: "fed" }, skeleton(lines));
  setAttribute(node, "aria-busy", "true");
  let shown = null;
  const show = (kind, ...children) => {
    shown = kind;
    setAttribute(node, "aria-busy", null);
    node.replaceChildren(...children);
  };
  const note = h("p", { class: "stale", hidden: true });
  const leave = feed.watch(() => {
    if (feed.value !== undefined) {
      if (shown !== "content") show("content", note, content);
      note.hidden = !feed.error;
      if (feed.error) setText(note, `Not up to date: ${feed.error.message}`);
      update(feed.value);
    } else if (feed.error) {
      show(
        "failure",
        failure(feed.error, () => feed.again()),
      );
    }
  });
  return { node, leave };
}

/**
 * A table. Columns: `{head, className, text(item)}`, or `make()` giving `{node, set(item)}` for
 * cells of more than text. Returns `{node, update(items)}`.
 */
export function table({ caption, columns, keyOf, none }) {
  const heads = columns.map((column) =>
    h("th", { scope: "col", class: column.className ?? "", text: column.head }),
  );
  const body = h("tbody");
  const grid = h(
    "table",
    {},
    h("caption", { class: "sr", text: caption }),
    h("thead", {}, h("tr", {}, ...heads)),
    body,
  );
  const scroller = h(
    "div",
    { class: "scroller", tabindex: "0", role: "region", "aria-label": caption },
    grid,
  );
  const node = h("div", {}, scroller, none);
  return {
    node,
    update(items) {
      scroller.hidden = items.length === 0;
      none.hidden = items.length > 0;
      keyed(body, items, keyOf, () => row(columns));
    },
  };
}

function row(columns) {
  const cells = columns.map((column, index) => {
    const part = column.make?.();
    const cell = h(
      index ? "td" : "th",
      { class: column.className ?? "", scope: index ? null : "row", "data-head": column.head },
      part?.node ?? null,
    );
    return { cell, part, column };
  });
  return {
    node: h("tr", {}, ...cells.map(({ cell }) => cell)),
    update(item) {
      for (const { cell, part, column } of cells) {
        if (part) part.set(item);
        else setText(cell, column.text(item));
        if (column.title) setAttribute(cell, "title", column.title(item));
      }
    },
  };
}

/** Rows with a bar each: items of `{key, label, detail, shown, share, kind}`, shares of 0 to 1. */
export function barList(label, none) {
  const list = h("ul", { class: "bars", "aria-label": label });
  const node = h("div", {}, list, none);
  return {
    node,
    update(items) {
      none.hidden = items.length > 0;
      list.hidden = items.length === 0;
      keyed(list, items, (item) => item.key, barRow);
    },
  };
}

function barRow() {
  const name = h("span", { class: "bars-name" });
  const detail = h("span", { class: "bars-detail" });
  const shown = h("span", { class: "bars-value" });
  const fill = h("span", { class: "bars-fill" });
  const track = h("span", { class: "bars-track", "aria-hidden": "true" }, fill);
  const texts = h("span", { class: "bars-text" }, name, detail);
  return {
    node: h("li", {}, texts, shown, track),
    update(item) {
      setText(name, item.label);
      setText(detail, item.detail ?? "");
      setText(shown, item.shown);
      fill.style.setProperty("inline-size", `${Math.max(0, Math.min(1, item.share)) * 100}%`);
      setAttribute(fill, "data-kind", item.kind);
    },
  };
}

/** `provider/model` as people read it. */
export function targetName() {
  const provider = h("span", { class: "quiet" });
  const model = h("span", { class: "strong" });
  return {
    node: h(
      "span",
      { class: "target-name" },
      provider,
      h("span", { class: "slash", text: "/" }),
      model,
    ),
    set(item) {
      setText(provider, item.provider);
      setText(model, item.model);
    },
  };
}
