// Behind one address there may be several instances, and each answer is of one of them. The page
// shows one instance at a time, by name, instead of figures that jump from one to the other.

const GONE_AFTER_MS = 60000;

export const instances = {
  seen: new Map(),
  chosen: "",
  listeners: new Set(),

  /** Keeps an answer's part, and gives the same part of the chosen instance. */
  told(part, value) {
    const name = value.instance || "this instance";
    const before = this.names().join("\n");
    const known = this.seen.get(name) ?? {};
    this.seen.set(name, { ...known, [part]: value, at: Date.now() });
    for (const [other, { at }] of this.seen)
      if (Date.now() - at > GONE_AFTER_MS) this.seen.delete(other);
    if (!this.seen.has(this.chosen)) this.chosen = name;
    if (this.names().join("\n") !== before) for (const listen of this.listeners) listen();
    return this.seen.get(this.chosen)[part] ?? value;
  },
  names() {
    return [...this.seen.keys()].sort();
  },
  choose(name) {
    this.chosen = name;
  },
  forget() {
    this.seen.clear();
    this.chosen = "";
  },
};
