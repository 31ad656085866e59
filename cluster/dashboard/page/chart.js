// A plot with its title, legend and the table behind it.

import { dash, make, say, table } from "./format.js";

const HEIGHT = 210;
const MOST_ROWS = 200; // of the table behind a plot
const COLOURS = 6;

// A colour of the style sheet as the canvas needs it.
function colour(name) {
  const probe = document.body.appendChild(make("span", { class: "hidden" }));
  probe.style.color = `var(--${name})`;
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

const all = new Set();

// Redraw every plot in the colours that hold now.
export function recolour() {
  for (const chart of all) chart.rebuild();
}

// `spec`: title, about, x (what the axis is), series [{label, dashed, colour}], share (0 to 1),
// show (a value as words), data(run) → [xs, ys, ys, …] or null, marks(run) → [{at, name}].
export class Chart {
  constructor(spec) {
    this.spec = spec;
    this.plot = null;
    this.data = null;
    this.marks = [];
    this.values = spec.series.map(() => make("b", {}, dash));
    this.keys = spec.series.map((one) => make("span", { class: one.dashed ? "key dashed" : "key" }));
    this.where = make("span", { class: "soft" });
    this.box = make("div", {
      class: "plot", tabindex: 0, role: "img", "aria-label": spec.title,
      onkeydown: (event) => this.step(event),
    });
    this.behind = make("details", { ontoggle: () => this.tell() }, make("summary", {}, "Table"));
    this.element = make(
      "figure", {},
      make("figcaption", {}, make("h3", {}, spec.title), make("p", {}, spec.about)),
      this.box,
      make("ul", { class: "legend" },
        spec.series.map((one, place) =>
          make("li", {}, this.keys[place], `${one.label} `, this.values[place])),
        make("li", {}, this.where)),
      this.behind,
    );
    this.paintKeys();
    this.sizes = new ResizeObserver(() => this.resize());
    this.sizes.observe(this.box);
    all.add(this);
  }

  remove() {
    all.delete(this);
    this.sizes.disconnect();
    this.plot?.destroy();
  }

  paintKeys() {
    this.spec.series.forEach((one, place) => {
      this.keys[place].style.borderTopColor = `var(--s${this.number(place)})`;
    });
  }

  number(place) {
    return (((this.spec.series[place].colour ?? place + 1) - 1) % COLOURS) + 1;
  }

  // Take the run's present state.
  update(run) {
    const data = this.spec.data(run);
    if (!data || !data[0].length) return this.nothing();
    this.marks = this.spec.marks?.(run) ?? [];
    const same = this.data && data[0].length === this.data[0].length &&
      data.every((column, place) => column.at(-1) === this.data[place].at(-1));
    this.data = data.map((column) => column.slice());
    if (!this.plot) this.build();
    else if (!same) this.plot.setData(this.data);
    this.legend(data[0].length - 1);
    if (this.behind.open) this.tell();
  }

  nothing() {
    if (this.plot) this.plot.destroy();
    this.plot = this.data = null;
    if (!this.box.firstChild) this.box.append(make("p", { class: "empty" }, "Nothing measured yet."));
  }

  rebuild() {
    this.plot?.destroy();
    this.plot = null;
    if (this.data) this.build();
  }

  resize() {
    const width = this.box.clientWidth;
    if (this.plot && width && width !== this.plot.width) this.plot.setSize({ width, height: HEIGHT });
  }

  show(value) {
    return value == null ? dash : this.spec.show ? this.spec.show(value) : String(value);
  }

  build() {
    this.box.replaceChildren();
    const [ink, soft, grid] = ["ink", "soft", "grid"].map(colour);
    const axis = { stroke: soft, grid: { stroke: grid, width: 1 }, ticks: { show: false },
      font: "11px system-ui, sans-serif", gap: 4 };
    const lines = this.spec.series.map((one, place) => {
      const stroke = colour(`s${this.number(place)}`);
      return { stroke, width: one.dashed ? 1.2 : 1.7, dash: one.dashed ? [5, 4] : undefined,
        spanGaps: true, points: { show: this.spec.points ?? false, size: 6, fill: stroke } };
    });
    const options = {
      width: Math.max(200, this.box.clientWidth), height: HEIGHT, legend: { show: false },
      padding: [this.spec.marks ? 18 : 10, 10, 0, 0],
      cursor: { y: false, points: { size: 6 }, drag: { x: true, y: false },
        sync: this.spec.sync ? { key: this.spec.sync } : undefined },
      scales: { x: { time: false, range: (_, low, high) => this.span(low, high) }, y: { range: (_, low, high) => this.range(low, high) } },
      axes: [{ ...axis, size: 28, incrs: this.spec.steps, values: (_, ticks) => ticks.map((one) => one.toLocaleString("en")) },
        { ...axis, size: 50, values: (_, ticks) => ticks.map((one) => this.tick(one)) }],
      series: [{}, ...lines],
      hooks: { draw: [(plot) => this.drawMarks(plot, soft)],
        setCursor: [(plot) => this.legend(plot.cursor.idx ?? this.data[0].length - 1, plot.cursor.idx)] },
    };
    this.plot = new uPlot(options, this.data, this.box);
    this.ink = ink;
  }

  // The axis begins at 0 until somebody drags a part of it.
  span(low, high) {
    const [first, last] = [this.data[0][0], this.data[0].at(-1)];
    if (low > first || high < last) return [low, high];
    return [0, Math.max(last, 1)];
  }

  range(low, high) {
    if (this.spec.share) return [0, 1];
    if (low == null) return [0, 1];
    const bottom = Math.min(0, low);
    const top = Math.max(high, this.spec.least ?? 0);
    return [bottom, top > bottom ? top * 1.06 : bottom + 1];
  }

  tick(value) {
    if (this.spec.share) return `${Math.round(100 * value)} %`;
    if (value >= 1e6) return `${value / 1e6}M`;
    return value >= 1e4 ? `${value / 1e3}k` : value.toLocaleString("en");
  }

  // Where phases begin: thin lines with their names.
  drawMarks(plot, stroke) {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.fillStyle = ctx.strokeStyle = stroke;
    ctx.textAlign = "left";
    ctx.textBaseline = "alphabetic";
    ctx.font = `${10 * devicePixelRatio}px system-ui, sans-serif`;
    ctx.setLineDash([2 * devicePixelRatio, 4 * devicePixelRatio]);
    let free = -Infinity;
    for (const { at, name } of this.marks) {
      const x = Math.round(plot.valToPos(at, "x", true));
      if (x < bbox.left - 1 || x > bbox.left + bbox.width) continue;
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      if (x < free) continue;
      ctx.fillText(name, x + 2 * devicePixelRatio, bbox.top - 5 * devicePixelRatio);
      free = x + ctx.measureText(name).width + 12 * devicePixelRatio;
    }
    ctx.restore();
  }

  // Values at a place of the axis (by default the last) beside the names of the lines.
  legend(place, pointed = null) {
    if (!this.data) return;
    const shown = this.spec.series.map((_, line) => {
      let at = place;
      while (pointed == null && at > 0 && this.data[line + 1][at] == null) at -= 1;
      return this.show(this.data[line + 1][at]);
    });
    shown.forEach((words, line) => say(this.values[line], words));
    const x = this.data[0][place];
    say(this.where, `at ${Math.round(x).toLocaleString("en")} ${this.spec.x}`);
    const words = this.spec.series.map((one, line) => `${one.label} ${shown[line]}`).join(", ");
    this.box.setAttribute("aria-label", `${this.spec.title}: ${words}, ${this.where.textContent}`);
  }

  // Arrow keys move along the axis.
  step(event) {
    const way = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (!way || !this.plot) return;
    event.preventDefault();
    const last = this.data[0].length - 1;
    const stride = Math.max(1, Math.round(last / 60));
    const at = (this.plot.cursor.idx ?? last) + way * stride;
    const place = Math.min(last, Math.max(0, at));
    const left = this.plot.valToPos(this.data[0][place], "x");
    this.plot.setCursor({ left, top: 10 });
    this.legend(place, place);
  }

  tell() {
    this.behind.querySelector(".scroll")?.remove();
    if (!this.behind.open || !this.data) return;
    const length = this.data[0].length;
    const stride = Math.ceil(length / MOST_ROWS);
    const rows = [];
    for (let at = length - 1; at >= 0; at -= stride)
      rows.push(this.data.map((column, place) =>
        place ? this.show(column[at]) : column[at].toLocaleString("en")));
    const head = [this.spec.x, ...this.spec.series.map((one) => one.label)];
    const some = stride > 1 ? `, every ${stride}th of ${length} points` : "";
    this.behind.append(table(`${this.spec.title}, newest first${some}`, head, rows, { said: true }));
  }
}

// Data of a plot from columns of one of the run's tables.
export const columns = (name, keys) => (run) => {
  const found = run.tables?.[name];
  if (!found || !keys.some((key) => found[key]?.some((value) => value != null))) return null;
  return [found.tasks, ...keys.map((key) => found[key])];
};

// Where phases begin on the axis of tasks.
export const phaseMarks = (run) =>
  (run.phases ?? []).map((phase) => ({ at: phase.first_task, name: phase.name }));
