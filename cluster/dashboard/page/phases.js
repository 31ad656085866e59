// The accuracy matrix: each phase's held-out tasks, tried after each phase.

import { dash, interval, make, percent, table } from "./format.js";
import { MODES, phaseName, probeData } from "./probes.js";

const CONTINUAL = [
  ["accuracy", "ACC", "mean over phases, after the last"],
  ["average_incremental_accuracy", "average incremental accuracy", "mean of ACC after each phase"],
  ["backward_transfer", "BWT", "at the end − at the phase's own end"],
  ["forward_transfer", "FWT", "before the phase − untrained"],
  ["forgetting", "forgetting", "best past − at the end"],
];

export class Phases {
  constructor(root) {
    this.choice = make("select", { onchange: () => this.draw() },
      Object.entries(MODES).map(([mode, words]) => make("option", { value: mode }, words)));
    this.matrix = make("div", { class: "card" });
    this.figures = make("dl", { class: "tiles" });
    root.replaceChildren(
      this.figures,
      make("h2", {}, "Accuracy matrix"),
      make("div", { class: "tools" }, make("label", {}, "Answers by ", this.choice)), this.matrix,
    );
  }

  remove() {}

  update(run) {
    this.run = run;
    const key = JSON.stringify([run.probes?.length, run.phases?.length, run.figures?.["continual.accuracy.value"]]);
    if (key === this.key) return;
    this.key = key;
    this.figures.replaceChildren(...CONTINUAL.map(([name, words, note]) => {
      const value = run.figures?.[`continual.${name}.value`];
      const bounds = interval(run.figures?.[`continual.${name}.low`], run.figures?.[`continual.${name}.high`]);
      return make("div", { class: "tile" }, make("dt", {}, words),
        make("dd", { class: "value" }, percent(value)), make("dd", { class: "note" }, bounds || note));
    }));
    this.draw();
  }

  draw() {
    if (!this.run) return;
    const found = probeData(this.run, this.choice.value);
    const about = `CSR on held-out tasks by ${MODES[this.choice.value]}. A row is a phase's tasks, a column the moment at which they were tried.`;
    if (!found.x.length) {
      this.matrix.replaceChildren(make("h3", {}, "CSR"), make("p", {}, `${about} Nothing was probed so yet.`));
      return;
    }
    const head = found.afters.map((after) => (after < 0 ? "untrained" : `after ${phaseName(this.run, after)}`));
    const scroll = table("CSR by phase and moment", ["tasks of", ...head], found.phases.map((phase) => [
      phaseName(this.run, phase),
      ...found.afters.map((after) => {
        const csr = found.at.get(`${phase}/${after}`)?.measures.csr;
        return csr ? percent(csr.value) : dash;
      }),
    ]), { tall: true });
    scroll.querySelector("table").classList.add("matrix");
    const cells = [...scroll.querySelectorAll("tbody td")];
    found.phases.forEach((phase, row) => found.afters.forEach((after, column) => {
      const cell = cells[row * found.afters.length + column];
      const csr = found.at.get(`${phase}/${after}`)?.measures.csr;
      if (!csr) return;
      cell.style.background = `color-mix(in oklab, var(--s1) ${Math.round(45 * csr.value)}%, var(--card))`;
      cell.title = `${interval(csr.low, csr.high)}, 95 % interval`;
      if (after === phase) cell.style.fontWeight = 650;
    }));
    this.matrix.replaceChildren(make("h3", {}, "CSR"), make("p", {}, `${about} Bold: right after the phase.`), scroll);
  }
}
