// Memory and knowledge: sessions with their turns, and collections.

import { get } from "./api.js";
import { openDrawer } from "./drawer.js";
import { h, setText } from "./dom.js";
import { feeds } from "./feeds.js";
import { ago, count, counted, fullTime, until } from "./format.js";
import { card, empty, failure, fed, skeleton, table } from "./parts.js";
import { draft } from "./playground.js";

const TURNS = 100;

/** A name that opens something. */
function opener(open, nameOf) {
  return () => {
    let shown = null;
    const node = h("button", { class: "link", type: "button", on: { click: () => open(shown) } });
    return {
      node,
      set(item) {
        shown = item;
        setText(node, nameOf(item));
      },
    };
  };
}

/** A link to the playground, with a field filled in. */
function toPlayground(field, word, nameOf) {
  return () => {
    let shown = null;
    const node = h("a", {
      class: "more",
      href: "#playground",
      text: word,
      on: { click: () => Object.assign(draft, { [field]: nameOf(shown) }) },
    });
    return {
      node,
      set(item) {
        shown = item;
        node.setAttribute("aria-label", `${word}: ${nameOf(item)}, in the playground`);
      },
    };
  };
}

async function showTurns(session) {
  const body = openDrawer(session.id, skeleton(8));
  try {
    const { turns } = await get(`v1/sessions/${encodeURIComponent(session.id)}/turns`, {
      query: { page_size: TURNS },
    });
    const more =
      session.turn_count > turns.length
        ? [
            h("p", {
              class: "quiet",
              text: `The first ${turns.length} of ${session.turn_count} turns.`,
            }),
          ]
        : [];
    body.replaceChildren(
      ...(turns.length
        ? turns.map(turn)
        : [empty("No turns", "This session holds none any more.")]),
      ...more,
    );
  } catch (error) {
    body.replaceChildren(failure(error, () => showTurns(session)));
  }
}

function turn(told) {
  const role = String(told.role).replace("ROLE_", "").toLowerCase();
  const who = told.model ? `${told.provider}/${told.model}` : role;
  return h(
    "article",
    { class: "turn", "data-role": role },
    h(
      "header",
      {},
      h("b", { text: role }),
      h("span", {
        class: "quiet small",
        text: `${who === role ? "" : `${who} · `}${fullTime(told.created_at)} · ${counted(told.tokens, "token")}`,
      }),
    ),
    h("p", { text: told.text || "(no text)" }),
  );
}

function sessionTable() {
  return table({
    caption: "Sessions",
    columns: [
      { head: "Session", make: opener(showTurns, (session) => session.id), className: "name" },
      { head: "User", text: (session) => session.user || "–" },
      { head: "Turns", className: "number", text: (session) => count(session.turn_count) },
      {
        head: "Last turn",
        text: (session) => ago(session.last_turn_at),
        title: (session) => fullTime(session.last_turn_at),
      },
      {
        head: "Removed",
        text: (session) => until(session.expires_at),
        title: (session) => fullTime(session.expires_at),
      },
      {
        head: "",
        make: toPlayground("session", "Continue", (session) => session.id),
        className: "end",
      },
    ],
    keyOf: (session) => session.id,
    none: empty(
      "No sessions",
      "A chat with a session_id begins one: AILB then remembers what was said.",
      h("a", { class: "button", href: "#playground", text: "Begin one in the playground" }),
    ),
  });
}

function showCollection(collection) {
  const facts = [
    ["Description", collection.description || "–"],
    ["Documents", count(collection.document_count)],
    ["Passages", count(collection.passage_count)],
    ["Embedding model", collection.embedding_model || "none: words alone"],
    ["Dimension", collection.embedding_dimension ? count(collection.embedding_dimension) : "–"],
    [
      "Passage length",
      `${count(collection.chunk_size)} characters, ${count(collection.chunk_overlap)} shared`,
    ],
    ["Made", fullTime(collection.created_at)],
    ["Changed", fullTime(collection.updated_at)],
  ];
  openDrawer(
    collection.name,
    h(
      "dl",
      { class: "facts" },
      ...facts.flatMap(([name, value]) => [h("dt", { text: name }), h("dd", { text: value })]),
    ),
  );
}

function noCollections() {
  const command = "ailb rag import docs/ --collection handbook --create";
  const text = "Documents that chats may draw upon: make a collection and import some.";
  return empty("No collections", text, h("code", { class: "command", text: command }));
}

function collectionTable() {
  return table({
    caption: "Collections",
    columns: [
      {
        head: "Collection",
        make: opener(showCollection, (collection) => collection.name),
        className: "name",
      },
      {
        head: "Documents",
        className: "number",
        text: (collection) => count(collection.document_count),
      },
      {
        head: "Passages",
        className: "number",
        text: (collection) => count(collection.passage_count),
      },
      {
        head: "Embedding model",
        text: (collection) => collection.embedding_model || "words alone",
      },
      {
        head: "Changed",
        text: (collection) => ago(collection.updated_at),
        title: (collection) => fullTime(collection.updated_at),
      },
      {
        head: "",
        make: toPlayground("collection", "Ask", (collection) => collection.name),
        className: "end",
      },
    ],
    keyOf: (collection) => collection.name,
    none: noCollections(),
  });
}

export const memory = {
  title: "Memory & knowledge",
  subtitle: "Sessions and collections of this key's tenant.",
  mount() {
    const sessions = sessionTable();
    const collections = collectionTable();
    const boxes = [
      fed(feeds.sessions, 6, sessions.node, (told) => sessions.update(told.sessions)),
      fed(feeds.collections, 4, collections.node, (told) => collections.update(told.collections)),
    ];
    const node = h(
      "div",
      { class: "stack" },
      card("Sessions", { note: "the last used first" }, boxes[0].node),
      card("Collections", {}, boxes[1].node),
    );
    return { node, leave: () => boxes.forEach((box) => box.leave()) };
  },
};
