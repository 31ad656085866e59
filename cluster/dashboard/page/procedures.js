// The procedures that the banks hold most often, and the actions that they led to.

import { make, say, table, whole } from "./format.js";
import { askJson } from "./source.js";

export class Procedures {
  constructor(root, name) {
    this.name = name;
    this.domain = make("select", { onchange: () => this.draw() }, make("option", { value: "" }, "all domains"));
    this.sign = make("select", { onchange: () => this.draw() },
      make("option", { value: "" }, "M+ and M−"), make("option", { value: "success" }, "M+"),
      make("option", { value: "failure" }, "M−"));
    this.again = make("button", { type: "button", onclick: () => this.fetch() }, "Read again");
    this.words = make("p", { class: "soft", role: "status" });
    this.list = make("div", { class: "card" });
    root.replaceChildren(
      make("div", { class: "tools" }, make("label", {}, "Domain ", this.domain),
        make("label", {}, "Bank ", this.sign), this.again),
      this.words, this.list);
    this.stopping = new AbortController();
    this.fetch();
  }

  remove() {
    this.stopping.abort();
  }

  update() {}

  async fetch() {
    say(this.words, "Reading the banks …");
    this.again.disabled = true;
    try {
      this.found = await askJson(`runs/${encodeURIComponent(this.name)}/procedures`, this.stopping.signal);
      const read = new Date(1000 * this.found.time).toLocaleTimeString();
      say(this.words, `The ${this.found.procedures.length} procedures submitted most, read at ${read}.`);
      for (const domain of [...new Set(this.found.procedures.map((one) => one.domain))].sort())
        if (![...this.domain.options].some((option) => option.value === domain))
          this.domain.append(make("option", { value: domain }, domain));
      this.draw();
    } catch (error) {
      if (!this.stopping.signal.aborted) say(this.words, error.message);
    }
    this.again.disabled = false;
  }

  draw() {
    const chosen = (this.found?.procedures ?? []).filter((one) =>
      (!this.domain.value || one.domain === this.domain.value) && (!this.sign.value || one.sign === this.sign.value));
    const rows = chosen.map((one) => [
      one.domain, one.sign === "success" ? "M+" : "M−", whole(one.times), whole(one.last_version),
      actions(one.actions), actions(one.replaced), chips(one.codes),
    ]);
    this.list.replaceChildren(rows.length
      ? table("Procedures most used", ["domain", "bank", "times", "last version", "led to", "in the other bank", "codes"], rows,
        { tall: true, words: [4, 5, 6] })
      : make("p", {}, "The banks are empty."));
  }
}

function actions(list) {
  if (!list.length) return null;
  const shown = list.slice(0, 4).map((one) =>
    `${one.action} ×${one.times}${one.refused ? ` (${one.refused} refused)` : ""}`);
  return shown.join(", ") + (list.length > 4 ? ` and ${list.length - 4} more` : "");
}

export function chips(codes, before = null) {
  if (!codes.length) return make("span", { class: "soft" }, "none: the book was not in use");
  return make("ul", { class: "codes", "aria-label": "codes" },
    codes.map((code, at) => make("li", { class: before && before[at] !== code ? "changed" : null }, String(code))));
}
