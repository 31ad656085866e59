// The first screen: how well, what the banks hold, how the book is used, who is there.

import { Chart, columns, phaseMarks } from "./chart.js";
import { age, bytes, clock, dash, interval, make, number, percent, say, table, whole } from "./format.js";
import { probeData } from "./probes.js";

const TASKS = { x: "tasks", sync: "tasks", marks: phaseMarks };
const MOST_PHASES = 6; // lines in the plot of the probes

const STREAM = {
  ...TASKS, title: "CSR on the stream", share: true, show: percent,
  about: "Share of tasks solved, over the last 100 tasks; dashed: share of actions accepted.",
  series: [{ label: "CSR" }, { label: "Exe", dashed: true, colour: 1 }],
  data: columns("stream", ["csr", "exe"]),
};
const BANKS = {
  ...TASKS, title: "Bank growth", show: whole,
  about: "Entries of M+ (procedures of successes) and M− (of failures); dashed: distinct procedures.",
  series: [{ label: "M+" }, { label: "M−" }, { label: "M+ distinct", dashed: true, colour: 1 },
    { label: "M− distinct", dashed: true, colour: 2 }],
  data: columns("bank", ["entries_success", "entries_failure", "unique_success", "unique_failure"]),
};
const FLOW = {
  ...TASKS, title: "What became of procedures", show: whole,
  about: "Submitted to both banks since the start: admitted, duplicates of what was there, and retired since.",
  series: [{ label: "admitted" }, { label: "duplicate" }, { label: "retired" }],
  data: (run) => {
    const bank = run.tables?.bank;
    if (!bank) return null;
    const both = (name) => bank[`${name}_success`].map((value, at) => value + bank[`${name}_failure`][at]);
    return [bank.tasks, both("admitted"), both("duplicates"), both("retired")];
  },
};
const HITS = {
  ...TASKS, title: "Hit rate", share: true, show: percent,
  about: "Share of decisions for which a bank held a procedure above the threshold, last 100 tasks.",
  series: [{ label: "M+" }, { label: "M−" }],
  data: columns("stream", ["hit_rate_success", "hit_rate_failure"]),
};
const codesSpec = (K) => ({
  ...TASKS, title: `Codes, of K = ${K || dash}`, show: (value) => number(value), least: K,
  about: "Codes that a version's decisions used, those that nothing used, and perplexity: as if how many were used evenly.",
  series: [{ label: "used" }, { label: "dead" }, { label: "perplexity", colour: 3 }],
  data: columns("version", ["codes_used", "codes_dead", "perplexity"]),
});
const QUANTISATION = {
  ...TASKS, title: "Quantisation error", show: (value) => number(value, 3),
  about: "Squared distance of memory from its codes, relative to memory's own size: on the newest phase's tasks and on replayed old ones.",
  series: [{ label: "all" }, { label: "new tasks", dashed: true, colour: 2 },
    { label: "old tasks", dashed: true, colour: 4 }],
  data: columns("version", ["quantisation_error", "quantisation_error_new", "quantisation_error_old"]),
};
const STALENESS = {
  ...TASKS, title: "Staleness", show: (value) => number(value, 2),
  about: "Versions that an episode lagged behind the learner, last 100 tasks.",
  series: [{ label: "mean" }, { label: "most", dashed: true, colour: 1 }],
  data: columns("stream", ["staleness_mean", "staleness_max"]),
};
const LOSS = {
  ...TASKS, title: "Loss", show: (value) => number(value, 3),
  about: "Training loss of each published version, nats a token.",
  series: [{ label: "loss" }], data: columns("version", ["loss"]),
};

export class Overview {
  constructor(root) {
    this.tiles = new Map();
    this.list = make("dl", { class: "tiles" });
    this.probes = make("div", {});
    this.codes = make("div", {});
    this.charts = [STREAM, BANKS, FLOW, HITS, QUANTISATION, STALENESS, LOSS].map((spec) => new Chart(spec));
    const [stream, banks, flow, hits, error, staleness, loss] = this.charts.map((chart) => chart.element);
    this.actors = make("div", { class: "card" });
    this.servers = make("div", { class: "card" });
    root.replaceChildren(
      this.list,
      make("h2", {}, "How well"), make("div", { class: "grid" }, stream, this.probes),
      make("h2", {}, "Banks"), make("div", { class: "grid" }, banks, flow, hits),
      make("h2", {}, "Procedure-book"), make("div", { class: "grid" }, this.codes, error, loss),
      make("h2", {}, "Health"), make("div", { class: "grid" }, this.actors, this.servers, staleness),
    );
  }

  remove() {
    for (const chart of [...this.charts, this.probeChart, this.codesChart]) chart?.remove();
  }

  update(run) {
    this.tell(run);
    this.probesOf(run);
    this.codesOf(run);
    for (const chart of this.charts) chart.update(run);
    this.health(run);
  }

  // The plot has a line a phase, and so is made anew when a phase is probed for the first time.
  probesOf(run) {
    const found = probeData(run, "free");
    const names = found.names.slice(-MOST_PHASES);
    const key = names.join("/");
    if (key !== this.probeKey) {
      this.probeKey = key;
      this.probeChart?.remove();
      this.probeChart = new Chart({
        title: "CSR on held-out tasks, by phase", share: true, show: percent, x: "phases finished", points: true, steps: [1, 2, 5, 10, 20, 50],
        about: "Free decoding on each phase's held-out tasks, before training (0) and after each phase. What falls was forgotten.",
        series: names.map((label) => ({ label })),
        data: (now) => {
          const all = probeData(now, "free");
          return all.x.length ? [all.x, ...all.lines.slice(-MOST_PHASES)] : null;
        },
      });
      this.probes.replaceChildren(this.probeChart.element);
    }
    this.probeChart.update(run);
  }

  codesOf(run) {
    const K = run.figures?.["model.codes"] ?? 0;
    if (K !== this.K) {
      this.K = K;
      this.codesChart?.remove();
      this.codesChart = new Chart(codesSpec(K));
      this.codes.replaceChildren(this.codesChart.element);
    }
    this.codesChart.update(run);
  }

  tile(name, value, note = "", bad = false) {
    let found = this.tiles.get(name);
    if (!found) {
      found = { value: make("dd", { class: "value" }), note: make("dd", { class: "note" }) };
      found.box = make("div", { class: "tile" }, make("dt", {}, name), found.value, found.note);
      this.tiles.set(name, found);
      this.list.append(found.box);
    }
    say(found.value, value);
    say(found.note, note);
    found.box.classList.toggle("bad", bad);
  }

  tell(run) {
    const f = run.figures ?? {};
    const at = (name) => f[name];
    const probe = "whole.probe.free.csr";
    this.tile("CSR, last 100 tasks", percent(run.now.csr),
      f["whole.stream.csr.value"] == null ? "" : `${percent(at("whole.stream.csr.value"))} of all`);
    this.tile("CSR held-out", percent(at(`${probe}.value`)), interval(at(`${probe}.low`), at(`${probe}.high`)));
    const lost = at("continual.forgetting.value");
    this.tile("Forgetting", percent(lost), lost == null ? "from the second phase on"
      : interval(at("continual.forgetting.low"), at("continual.forgetting.high")));
    this.tile("Memory reliance", percent(at("whole.probe.memory_reliance")), "CSR free − exchanged");
    for (const [sign, name] of [["success", "M+"], ["failure", "M−"]]) {
      const bank = `whole.banks.${sign}`;
      this.tile(`${name} entries`, whole(at(`${bank}.entries`)),
        `${whole(at(`${bank}.admitted`))} in, ${whole(at(`${bank}.retired`))} out, hits ${percent(at(`${bank}.hit_rate`))}`);
    }
    this.tile("Codes used", whole(at("whole.book.codes_used")), `${whole(at("whole.book.codes_dead"))} dead of ${whole(at("model.codes"))}`);
    this.tile("Perplexity", number(at("whole.book.perplexity")), "as if so many evenly");
    this.tile("Quantisation error", number(at("whole.book.quantisation_error"), 3), errors(run));
    this.tile("Staleness", number(at("whole.staleness.mean"), 2), `at most ${whole(at("whole.staleness.max"))} versions`);
    this.tile("Tasks a second", number(at("whole.rates.episodes_per_s")), `${number(at("whole.rates.decisions_per_s"))} decisions`);
    this.tile("Version", whole(at("version")), `run time ${clock(at("seconds"))}`);
  }

  health(run) {
    const health = run.health ?? {};
    const since = health.time == null ? 0 : Date.now() / 1000 + run.skew - health.time;
    const running = run.now.state === "running";
    const grow = running ? since : 0;
    const rows = (health.actors ?? []).map((actor) => [
      actor.actor,
      actor.up ? make("span", { class: "yes" }, "● up") : make("span", { class: "no" }, "○ starts"),
      actor.doing || "waits",
      age(actor.age_s + grow),
    ]);
    const told = running ? `As told ${age(since)} ago.` : "As last told; the run does not go on.";
    this.actors.replaceChildren(
      make("h3", {}, "Actors"), make("p", {}, told),
      rows.length ? table("Actors", ["actor", "state", "asked to", "last event"], rows)
        : make("p", {}, "Not recorded by this run."),
    );
    const limit = health.server_limit_bytes;
    const f = run.figures ?? {};
    const memory = (name) => (f[`memory.${name}`] == null ? dash : bytes(f[`memory.${name}`] * 2 ** 20));
    this.servers.replaceChildren(
      make("h3", {}, "Learner, shared memory, processes"), make("p", {}, told),
      table("Learner, shared memory and processes", ["part", "state"], [
        ["learner", health.learner_doing ?? dash],
        ["learner's last turn", health.learner_age_s == null ? dash : `${age(health.learner_age_s + grow)} ago`],
        ["Redis answers in", health.server_answer_s == null ? dash : `${(1000 * health.server_answer_s).toFixed(1)} ms`],
        ["Redis memory", health.server_bytes == null ? dash : bytes(health.server_bytes) + (limit ? ` of ${bytes(limit)}` : "")],
        ["largest actor", memory("actor_mb")], ["learner's memory", memory("learner_mb")],
        ["driver's memory", memory("driver_mb")], ["all together, at most", memory("total_mb")],
      ]),
    );
  }
}

function errors(run) {
  const version = run.tables?.version;
  const fresh = version?.quantisation_error_new?.at(-1);
  const old = version?.quantisation_error_old?.at(-1);
  return fresh == null && old == null ? "" : `new ${number(fresh, 3)}, old ${number(old, 3)}`;
}
