// One episode step by step: what was read, answered and used.

import { dash, make, number, percent, say, whole } from "./format.js";
import { chips } from "./procedures.js";
import { askJson } from "./source.js";

const AGAIN_MS = 10000;

export class Episodes {
  constructor(root, name) {
    this.name = name;
    this.words = make("p", { class: "soft", role: "status" }, "Reading …");
    this.wanted = make("select", { onchange: () => this.draw() },
      make("option", { value: "" }, "all"), make("option", { value: "solved" }, "solved"),
      make("option", { value: "failed" }, "failed"));
    this.list = make("ul", { class: "list", "aria-label": "Episodes" });
    this.detail = make("div", { class: "card", "aria-live": "polite" }, make("p", {}, "Choose an episode."));
    root.replaceChildren(this.words,
      make("div", { class: "tools" }, make("label", {}, "Show ", this.wanted)),
      make("div", { class: "split" }, make("div", { class: "card" }, this.list), this.detail));
    this.stopping = new AbortController();
    this.fetch();
    this.timer = setInterval(() => this.running && this.fetch(), AGAIN_MS);
  }

  remove() {
    clearInterval(this.timer);
    this.stopping.abort();
  }

  update(run) {
    this.running = run.now.state === "running";
  }

  ask(path) {
    return askJson(`runs/${encodeURIComponent(this.name)}/episodes${path}`, this.stopping.signal);
  }

  async fetch() {
    try {
      this.found = await this.ask("");
      say(this.words, this.found.length
        ? `The last ${this.found.length} episodes that were kept word for word, newest first.`
        : "This run kept no episodes (yet): monitoring.episodes_every says how many it does.");
      this.draw();
      if (!this.chosen && this.found.length) this.choose(this.found[0].episode);
    } catch (error) {
      if (!this.stopping.signal.aborted) say(this.words, error.message);
    }
  }

  draw() {
    const kept = (this.found ?? []).filter((one) =>
      !this.wanted.value || one.success === (this.wanted.value === "solved"));
    const focused = this.list.contains(document.activeElement);
    this.list.replaceChildren(...kept.map((one) => make("li", {}, make("button", {
      type: "button", "aria-current": this.chosen?.episode === one.episode ? "true" : null,
      onclick: () => this.choose(one.episode),
    }, make("span", { class: one.success ? "yes" : "no" }, one.success ? "✓ " : "✕ "),
    `${whole(one.episode)} ${one.domain} `,
    make("span", { class: "soft small" }, `${one.decisions} decision${one.decisions === 1 ? "" : "s"}, version ${one.version}`)))));
    if (focused) this.list.querySelector("[aria-current]")?.focus();
  }

  async choose(number_) {
    try {
      this.chosen = await this.ask(`/${number_}`);
    } catch (error) {
      say(this.words, error.message);
      return;
    }
    this.step = 0;
    this.draw();
    this.tell();
  }

  go(way) {
    const last = this.chosen.decisions.length - 1;
    this.step = Math.min(last, Math.max(0, this.step + way));
    this.tell(way);
  }

  tell(way = 0) {
    const one = this.chosen;
    const decision = one.decisions[this.step];
    const before = this.step ? one.decisions[this.step - 1] : null;
    const back = make("button", { type: "button", disabled: this.step === 0, onclick: () => this.go(-1) }, "Back");
    const next = make("button", { type: "button", disabled: this.step >= one.decisions.length - 1, onclick: () => this.go(1) }, "Next");
    const outcome = one.success ? make("span", { class: "yes" }, "solved") : make("span", { class: "no" }, "not solved");
    this.detail.replaceChildren(
      make("h3", {}, `Episode ${whole(one.episode)}, ${one.domain}`),
      make("p", {}, outcome, ` with ${one.conditions_met} of ${one.conditions} goal conditions, task ${whole(one.task_index)}, book version ${one.version}, ${one.actor}, ${number(one.seconds, 2)} s; M+ had something for ${one.hits_success} and M− for ${one.hits_failure} of ${one.decisions.length} decisions.`),
      ...(one.fault ? [make("p", { class: "no" }, one.fault)] : []),
      ...(decision ? [
        make("div", { class: "tools" }, back, next, make("span", {}, `Decision ${this.step + 1} of ${one.decisions.length}`)),
        make("p", {}, "Action: ", make("strong", {}, decision.action || dash), " ",
          decision.accepted ? make("span", { class: "yes" }, "✓ accepted") : make("span", { class: "no" }, "✕ refused")),
        make("p", {}, banks(decision)),
        make("p", {}, "Procedure", before ? " (marked: codes that differ from the decision before)" : "", ":"),
        chips(decision.codes, before?.codes),
        make("p", {}, "Read from:"),
        text(decision.text, before?.text),
      ] : [make("p", {}, "No decision was made.")]),
    );
    if (way) (way < 0 && !back.disabled ? back : next.disabled ? back : next).focus();
  }
}

const NEAR = { success: "M+", failure: "M−", both: "M+ and M−" };

function banks(decision) {
  if (decision.near === undefined) return "What the banks changed was not recorded.";
  if (!decision.near) return "The banks had nothing near it.";
  const who = NEAR[decision.near];
  if (decision.alone == null) return `${who} had something near it; the answer without was not computed.`;
  return decision.alone === decision.action ? `${who} had something near it and changed nothing.`
    : `${who} changed it: alone the model would have answered “${decision.alone}”.`;
}

// The text with its special words in colour, and the words that the text before had not, marked.
function text(words, before) {
  if (words == null) return make("p", { class: "soft" }, "Not kept: a pretrained model's words are its own tokenizer's.");
  const known = before == null ? null : facts(before);
  return make("div", { class: "text", tabindex: 0, role: "region", "aria-label": "What the decision was read from" },
    words.split(/(?=<)/).flatMap((part) => {
      const [special, ...rest] = part.trim().split(" ");
      const plain = rest.join(" ");
      const fresh = known && special !== "<domain>" && plain && !known.has(`${special} ${plain}`);
      return [make("span", { class: "word" }, special), " ", fresh ? make("mark", {}, plain) : plain, "\n"];
    }));
}

const facts = (words) => new Set(words.split(/(?=<)/).map((part) => part.trim()));
