// Two runs side by side: only what differs.

import { Chart } from "./chart.js";
import { dash, interval, make, percent, say, table, whole } from "./format.js";
import { askJson } from "./source.js";

const CURVES = [
  ["stream", "csr", "CSR on the stream", "Over the last 100 tasks.", true],
  ["bank", "entries_success", "M+ entries", "Procedures of successes.", false],
  ["version", "codes_used", "Codes used", "By a version's decisions.", false],
  ["version", "perplexity", "Perplexity", "As if so many codes were used evenly.", false],
];
const SHARES = /\.(csr|cgc|exe|spl|hit_rate|memory_reliance|bank_effect)$|^continual\./;

export class Compare {
  constructor(root, name) {
    this.name = name;
    this.choice = make("select", { onchange: () => this.fetch() });
    this.words = make("p", { class: "soft", role: "status" }, "Reading …");
    this.body = make("div", {});
    this.charts = [];
    root.replaceChildren(make("div", { class: "tools" }, make("label", {}, `${name} against `, this.choice)), this.words, this.body);
    this.stopping = new AbortController();
    this.offer();
  }

  remove() {
    this.stopping.abort();
    for (const chart of this.charts) chart.remove();
  }

  update() {}

  async offer() {
    const { runs } = await askJson("runs", this.stopping.signal);
    const others = runs.map((one) => one.name).filter((name) => name !== this.name);
    if (!others.length) {
      say(this.words, "There is no other run here: start the page with nesypr dashboard --all.");
      this.choice.disabled = true;
      return;
    }
    this.choice.replaceChildren(...others.map((name) => make("option", { value: name }, name)));
    this.fetch();
  }

  async fetch() {
    const other = this.choice.value;
    const names = [this.name, other];
    try {
      const both = await Promise.all(names.map((name) => this.whole(name)));
      const query = `first=${encodeURIComponent(names[0])}&second=${encodeURIComponent(names[1])}`;
      const found = await askJson(`compare?${query}`, this.stopping.signal);
      this.draw(names, both, found);
    } catch (error) {
      if (!this.stopping.signal.aborted) say(this.words, error.message);
    }
  }

  // A run once the server has read all of it.
  async whole(name) {
    for (;;) {
      const found = await askJson(`runs/${encodeURIComponent(name)}`, this.stopping.signal);
      if (found.now.read > 0.999 || found.now.state === "running") return found;
      say(this.words, `Reading ${name}: ${percent(found.now.read, 0)}`);
      await new Promise((resolve) => setTimeout(resolve, 400));
    }
  }

  draw(names, both, found) {
    for (const chart of this.charts) chart.remove();
    this.charts = CURVES.map(([name, key, title, about, share]) => new Chart({
      title, about, share, x: "tasks", sync: "compare", show: share ? percent : whole,
      series: names.map((label) => ({ label })), data: () => together(both, name, key),
    }));
    say(this.words, `${found.settings.length} settings and ${found.figures.length} figures differ; what is the same is left out.`);
    this.body.replaceChildren(
      make("div", { class: "grid" }, this.charts.map((chart) => chart.element)),
      make("h2", {}, "Settings that differ"),
      make("div", { class: "card" }, found.settings.length
        ? table("Settings that differ", ["setting", ...names], found.settings.map((row) => row.map(plain)), { words: [0, 1, 2] })
        : make("p", {}, "None.")),
      make("h2", {}, "Figures that differ"),
      make("div", { class: "card" }, table("Figures that differ", ["figure", ...names, "95 % intervals"],
        found.figures.map((one) => [one.name, value(one.name, one.first), value(one.name, one.second),
          one.overlap == null ? dash : one.overlap ? "overlap" : "apart"]), { tall: true })),
    );
    for (const chart of this.charts) chart.update({});
  }
}

const plain = (one) => (one == null ? dash : typeof one === "object" ? JSON.stringify(one) : String(one));

function value(name, one) {
  const share = SHARES.test(name);
  const words = (number) => (share ? percent(number) : typeof number === "number" ? String(+number.toPrecision(5)) : plain(number));
  if (!Array.isArray(one)) return one == null ? dash : words(one);
  const bounds = share ? interval(one[1], one[2]) : "";
  return words(one[0]) + (bounds ? ` (${bounds})` : "");
}

// Two lines on one axis: every x of either, with gaps where the other has none.
function together(both, name, key) {
  const parts = both.map((run) => run.tables[name]);
  if (parts.some((part) => !part?.tasks.length)) return null;
  const xs = [...new Set(parts.flatMap((part) => part.tasks))].sort((a, b) => a - b);
  const lines = parts.map((part) => {
    const at = new Map(part.tasks.map((x, place) => [x, part[key][place]]));
    return xs.map((x) => at.get(x) ?? null);
  });
  return [xs, ...lines];
}
