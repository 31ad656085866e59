// The run itself: its configuration, its account, and every figure by its name.

import { dash, make, say, table } from "./format.js";
import { askJson } from "./source.js";

export class About {
  constructor(root, name) {
    this.filter = make("input", { type: "search", oninput: () => this.draw() });
    this.figures = make("div", { class: "card" });
    this.settings = make("div", { class: "card" }, make("p", {}, "Reading …"));
    root.replaceChildren(
      make("h2", {}, "Every figure"),
      make("p", { class: "soft" }, "Under the names of summary.json; Prometheus has them at /metrics with nesypr_ before and _ for dots."),
      make("div", { class: "tools" }, make("label", {}, "Only names with ", this.filter)), this.figures,
      make("h2", {}, "Configuration"), this.settings);
    this.stopping = new AbortController();
    askJson(`runs/${encodeURIComponent(name)}/configuration`, this.stopping.signal).then((found) => {
      this.settings.replaceChildren(table("Settings, also those by default", ["setting", "value"],
        Object.entries(found).map(([key, value]) => [key, value == null ? dash : JSON.stringify(value)]), { tall: true, words: [0, 1] }));
    }).catch((error) => {
      if (!this.stopping.signal.aborted) say(this.settings.firstChild, error.message);
    });
  }

  remove() {
    this.stopping.abort();
  }

  update(run) {
    this.run = run;
    this.draw();
  }

  draw() {
    const wanted = this.filter.value.trim();
    const rows = Object.entries(this.run?.figures ?? {}).filter(([name]) => name.includes(wanted));
    const key = JSON.stringify(rows);
    if (key === this.key || this.figures.contains(document.activeElement)) return;
    this.key = key;
    this.figures.replaceChildren(table("Figures", ["figure", "value"],
      rows.map(([name, value]) => [name, value == null ? dash : String(value)]), { tall: true }));
  }
}
