// The playground: one chat, streamed, with everything that the gateway tells of it.

import { key } from "./api.js";
import { h, keyed, setText } from "./dom.js";
import { feeds } from "./feeds.js";
import { card } from "./parts.js";
import { answer } from "./playground_answer.js";
import { Run } from "./playground_run.js";

const COPY = "Copy as curl";
const COPIED_MS = 1500;
const FIRST_MESSAGE = "Say hello, and tell me in two sentences what a load balancer does.";

/** What is written into the form; it outlasts a change of view, not of the page. */
export const draft = {
  model: "",
  system: "",
  user: FIRST_MESSAGE,
  temperature: "",
  max: "",
  session: "",
  collection: "",
};

function field(label, control, hint = "") {
  const told = hint ? h("span", { class: "hint", text: hint, id: `${control.id}-hint` }) : null;
  if (told) control.setAttribute("aria-describedby", told.id);
  return h("div", { class: "field" }, h("label", { for: control.id, text: label }), control, told);
}

function control(tag, name, props = {}) {
  const node = h(tag, { id: `play-${name}`, name, ...props });
  if (tag !== "select") node.value = draft[name];
  for (const event of ["input", "change"])
    node.addEventListener(event, () => (draft[name] = node.value));
  return node;
}

function option(name) {
  const node = h("option", { value: name, text: name || "none" });
  return { node };
}

/** Keeps a select's options those that there are, and what is chosen. */
function offer(select, names, chosen) {
  keyed(select, names, (name) => name, option);
  if (names.includes(chosen)) select.value = chosen;
}

function controls() {
  return {
    model: control("select", "model"),
    system: control("textarea", "system", { rows: 2, placeholder: "You are …" }),
    user: control("textarea", "user", { rows: 6, required: true }),
    temperature: control("input", "temperature", {
      type: "number",
      min: 0,
      max: 2,
      step: 0.1,
      placeholder: "default",
      inputmode: "decimal",
    }),
    max: control("input", "max", {
      type: "number",
      min: 1,
      step: 1,
      placeholder: "default",
      inputmode: "numeric",
    }),
    session: control("input", "session", {
      type: "text",
      maxlength: 256,
      autocomplete: "off",
      spellcheck: "false",
      placeholder: "none",
    }),
    collection: control("select", "collection"),
  };
}

/** The request's body, without what was left empty. */
export function bodyOf({ model, system, user, temperature, max, session, collection }) {
  const messages = [
    ...(system.trim() ? [{ role: "system", content: system }] : []),
    { role: "user", content: user },
  ];
  const body = { model, messages, stream: true, stream_options: { include_usage: true } };
  if (temperature !== "") body.temperature = Number(temperature);
  if (max !== "") body.max_tokens = Number(max);
  if (session.trim()) body.session_id = session.trim();
  if (collection) body.rag_collection = collection;
  return body;
}

/** A line for a shell; the key is named there, not written out. */
function curl(body) {
  const quoted = `'${JSON.stringify(body).replaceAll("'", `'\\''`)}'`;
  const header = key.get() ? `-H "authorization: Bearer $AILB_API_KEY" ` : "";
  const address = new URL("../v1/chat/completions", import.meta.url);
  return `curl -N ${address} ${header}-H 'content-type: application/json' -d ${quoted}`;
}

function button(kind, type, text, hint) {
  return h("button", { class: `button ${kind}`, type }, `${text} `, h("kbd", { text: hint }));
}

function copyButton() {
  const copy = h("button", { class: "button ghost", type: "button", text: COPY });
  copy.addEventListener("click", async () => {
    const written = navigator.clipboard?.writeText(curl(bodyOf(draft)));
    // Without a secure context there is no clipboard.
    const done = await Promise.resolve(written).then(
      () => Boolean(written),
      () => false,
    );
    setText(copy, done ? "Copied" : "Not allowed here");
    setTimeout(() => setText(copy, COPY), COPIED_MS);
  });
  return copy;
}

function requestForm(fields, ...buttons) {
  const numbers = [field("Temperature", fields.temperature), field("Most tokens", fields.max)];
  const context = [
    field("Session", fields.session, "remembers the conversation"),
    field("Collection", fields.collection, "passages as context"),
  ];
  return h(
    "form",
    { class: "play-form", "aria-label": "Request" },
    field("Model", fields.model),
    field("System", fields.system),
    field("Message", fields.user),
    h("div", { class: "pair" }, ...numbers),
    h("div", { class: "pair" }, ...context),
    h("div", { class: "buttons" }, ...buttons),
  );
}

function form(fields, shown) {
  const send = button("primary", "submit", "Send", "Ctrl Enter");
  const stop = button("danger", "button", "Stop", "Esc");
  const node = requestForm(fields, send, stop, copyButton());
  const run = new Run(shown, (running) => {
    send.hidden = running;
    stop.hidden = !running;
    if (running) stop.focus();
    else if (document.activeElement === document.body) send.focus();
  });
  stop.hidden = true;
  const start = (event) => {
    event.preventDefault();
    if (!run.running && node.reportValidity()) run.start(bodyOf(draft));
  };
  node.addEventListener("submit", start);
  node.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) start(event);
  });
  stop.addEventListener("click", () => run.stop());
  return { node, run };
}

export const playground = {
  title: "Playground",
  subtitle:
    "One request through the whole gateway, streamed. It counts and costs as any other does.",
  mount() {
    const fields = controls();
    const shown = answer();
    const { node: request, run } = form(fields, shown);
    offer(fields.collection, [""], "");
    const leaves = [
      feeds.models.watch(({ value }) => {
        if (!value) return;
        const names = value.data.map((model) => model.id);
        if (!names.includes(draft.model)) draft.model = names[0] ?? "";
        offer(fields.model, names, draft.model);
      }),
      feeds.collections.watch(({ value }) =>
        offer(
          fields.collection,
          ["", ...(value?.collections ?? []).map((each) => each.name)],
          draft.collection,
        ),
      ),
    ];
    const escape = (event) => event.key === "Escape" && run.running && run.stop();
    document.addEventListener("keydown", escape);
    const node = h(
      "div",
      { class: "play" },
      card("Request", {}, request),
      card("Answer", { className: "play-answer", action: shown.state }, shown.node),
    );
    const leave = () => {
      document.removeEventListener("keydown", escape);
      run.stop();
      leaves.forEach((each) => each());
    };
    return { node, leave };
  },
};
