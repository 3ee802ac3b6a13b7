// One run of the playground: from the click to what it cost.

import { get } from "./api.js";
import { announce } from "./dom.js";
import { chat } from "./stream.js";

const LEDGER_TRIES = 8;
const LEDGER_WAIT_MS = 600;

export class Run {
  #abort = null;
  #shown;
  #changed;

  /** `shown` is told what happens, `changed` whether it runs. */
  constructor(shown, changed) {
    this.#shown = shown;
    this.#changed = changed;
  }

  get running() {
    return this.#abort !== null;
  }

  stop() {
    this.#abort?.abort();
  }

  async start(body) {
    const abort = (this.#abort = new AbortController());
    const facts = {
      began: performance.now(),
      first: null,
      ended: null,
      usage: null,
      pieces: 0,
      requestId: "",
      at: null,
    };
    this.#shown.began();
    this.#changed(true);
    announce("The request is sent.");
    try {
      for await (const step of chat(body, abort.signal)) this.#take(step, facts);
      this.#shown.ended("ok");
      announce("The answer is complete.");
    } catch (error) {
      if (abort.signal.aborted) {
        this.#shown.ended("stopped");
        announce("Stopped.");
      } else {
        this.#shown.failed(error);
        announce(`Failed. ${error.message}`);
      }
    }
    facts.ended = performance.now();
    this.#abort = null;
    this.#changed(false);
    this.#shown.figures(facts);
    if (facts.first !== null) await this.#cost(facts);
  }

  #take(step, facts) {
    if (step.type === "headers") {
      facts.requestId = step.headers.get("x-request-id") ?? "";
      facts.at = step.headers.get("date");
      this.#shown.headers(step.headers, step.status);
      return;
    }
    const delta = step.data.choices?.[0]?.delta ?? {};
    const text = delta.content ?? "";
    const thought = delta.reasoning_content ?? delta.reasoning ?? "";
    const called = delta.tool_calls ? JSON.stringify(delta.tool_calls) : "";
    if (text || thought || called) {
      facts.first ??= performance.now();
      facts.pieces += 1;
    }
    if (step.data.usage) facts.usage = step.data.usage;
    this.#shown.piece(text, thought, called);
    this.#shown.figures(facts);
  }

  /** The ledger has the request's row within two seconds of its end. */
  async #cost(facts) {
    const hour = new Date(Date.parse(facts.at ?? "") - 3600000);
    const query = {
      request_id: facts.requestId,
      start_time: Number.isNaN(hour.getTime()) ? undefined : hour.toISOString(),
    };
    for (let tried = 0; tried < LEDGER_TRIES; tried += 1) {
      const told = await get("admin/v1/usage", { query }).catch(() => null);
      if (this.running) return;
      if (told?.total.requests) {
        this.#shown.cost(told.total);
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, LEDGER_WAIT_MS));
    }
    this.#shown.cost(null);
  }
}
