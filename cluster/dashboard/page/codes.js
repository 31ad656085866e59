// Heat maps of the procedure-book: use of codes over tasks and by domain.

import { make, percent, say, table, whole } from "./format.js";
import { askJson } from "./source.js";

const AGAIN_MS = 10000;

export class Codes {
  constructor(root, name) {
    this.name = name;
    this.choice = make("select", { onchange: () => this.fetch() }, make("option", { value: "" }, "all domains"));
    this.words = make("p", { class: "soft" }, "Reading …");
    this.over = new Map_("Use over tasks",
      "A column is a stretch of the stream, a row a code (or a few neighbours), in the order of first use from below. The darker, the larger its share of the column's procedures. A book that saturates stops climbing.");
    this.by = new Map_("Use by domain",
      "A column is a domain, rows as above: codes that a domain has for itself, and those that all share.", true);
    this.shared = make("div", { class: "card" });
    root.replaceChildren(
      make("div", { class: "tools" }, make("label", {}, "Domain ", this.choice)),
      this.words,
      make("div", { class: "grid" }, this.over.element, this.by.element),
      make("h2", {}, "Codes that domains share"), this.shared,
    );
    this.stopping = new AbortController();
    this.fetch();
    this.timer = setInterval(() => this.running && this.fetch(), AGAIN_MS);
    this.scheme = () => this.draw();
    addEventListener("schemechange", this.scheme);
  }

  remove() {
    clearInterval(this.timer);
    this.stopping.abort();
    removeEventListener("schemechange", this.scheme);
  }

  update(run) {
    this.running = run.now.state === "running";
    if (!this.found && run.figures?.["model.codes"]) this.fetch();
  }

  async fetch() {
    const domain = this.choice.value ? `?domain=${encodeURIComponent(this.choice.value)}` : "";
    try {
      this.found = await askJson(`runs/${encodeURIComponent(this.name)}/codes${domain}`, this.stopping.signal);
      this.draw();
    } catch (error) {
      if (!this.stopping.signal.aborted) say(this.words, error.message);
    }
  }

  draw() {
    const found = this.found;
    if (!found?.tasks) {
      say(this.words, "This run recorded no use of codes (yet): it is told every hundred tasks, once the book is in use.");
      return;
    }
    for (const domain of found.domains)
      if (![...this.choice.options].some((option) => option.value === domain))
        this.choice.append(make("option", { value: domain }, domain));
    const several = found.codes_per_row[0] > 1 ? `, about ${found.codes_per_row[0]} codes a row` : "";
    say(this.words, `${whole(found.tasks)} tasks, K = ${whole(found.codes)}; ${found.tasks_per_column} tasks a column${several}.`);
    const rows = found.first_codes.map((code, at) =>
      found.codes_per_row[at] > 1 ? `${code} and ${found.codes_per_row[at] - 1} more` : String(code));
    const ends = found.over_tasks[0]?.map((_, at) => `to ${(at + 1) * found.tasks_per_column}`) ?? [];
    this.over.draw(found.over_tasks, rows, ends);
    this.by.draw(found.by_domain, rows, found.domains);
    this.shared.replaceChildren(
      make("h3", {}, "How many codes two domains both use"),
      make("p", {}, "On the diagonal: all that a domain uses."),
      table("Codes used by both domains", ["domain", ...found.domains],
        found.domains.map((domain, at) => [domain, ...found.shared_by_domains[at].map(whole)])),
    );
  }
}

class Map_ {
  constructor(title, about) {
    this.title = title;
    this.canvas = make("canvas", { class: "heat", role: "img", "aria-label": title });
    this.behind = make("details", { ontoggle: () => this.tell() }, make("summary", {}, "Table"));
    this.element = make("figure", {}, make("figcaption", {}, make("h3", {}, title), make("p", {}, about)),
      this.canvas, this.behind);
  }

  draw(shares, rows, columns) {
    Object.assign(this, { shares, rows, columns });
    if (!shares.length || !columns.length) return;
    this.canvas.width = columns.length;
    this.canvas.height = rows.length;
    const context = this.canvas.getContext("2d");
    const [paper, ink] = ["grid", "accent"].map((name) => rgb(name));
    const most = Math.max(...shares.map((row) => Math.max(...row)), 1e-9);
    const image = context.createImageData(columns.length, rows.length);
    shares.forEach((row, y) => row.forEach((share, x) => {
      const strength = Math.sqrt(share / most);
      const at = 4 * ((rows.length - 1 - y) * columns.length + x);
      for (let part = 0; part < 3; part += 1)
        image.data[at + part] = paper[part] + strength * (ink[part] - paper[part]);
      image.data[at + 3] = 255;
    }));
    context.putImageData(image, 0, 0);
    const used = shares.filter((row) => row.some((share) => share > 0)).length;
    this.canvas.setAttribute("aria-label", `${this.title}: ${used} of ${rows.length} rows of codes used`);
    if (this.behind.open) this.tell();
  }

  tell() {
    this.behind.querySelector(".scroll")?.remove();
    if (!this.behind.open || !this.shares?.length) return;
    const stride = Math.ceil(this.columns.length / 24);
    const kept = this.columns.map((_, at) => at).filter((at) => at % stride === 0 || at === this.columns.length - 1);
    this.behind.append(table(`${this.title}: share of a column's uses`, ["code", ...kept.map((at) => this.columns[at])],
      this.rows.map((row, y) => [row, ...kept.map((x) => percent(this.shares[y][x], 2))])));
  }
}

function rgb(name) {
  const probe = document.body.appendChild(make("span", { class: "hidden" }));
  probe.style.color = `var(--${name})`;
  const found = getComputedStyle(probe).color.match(/[\d.]+/g).slice(0, 3).map(Number);
  probe.remove();
  return found;
}
