// The page: chooses run and view by its address (#/RUN/VIEW), and hands news to the view.

import { About } from "./about.js";
import { recolour } from "./chart.js";
import { Codes } from "./codes.js";
import { Compare } from "./compare.js";
import { Episodes } from "./episodes.js";
import { age, clock, make, percent, say, whole } from "./format.js";
import { Overview } from "./overview.js";
import { Phases } from "./phases.js";
import { Procedures } from "./procedures.js";
import { askJson, Source, takeToken } from "./source.js";

const VIEWS = {
  overview: ["Overview", Overview],
  codes: ["Codes", Codes],
  phases: ["Phases", Phases],
  procedures: ["Procedures", Procedures],
  episodes: ["Episodes", Episodes],
  compare: ["Compare", Compare],
  run: ["Run", About],
};
const SCHEMES = { auto: "Colours: as the system", light: "Colours: light", dark: "Colours: dark" };
const PAST_ALARMS = 5;

const part = (id) => document.getElementById(id);
const view = part("view");
let source = null;
let shown = null;
let place = { run: null, view: null };

function address() {
  const [, run, name] = location.hash.split("/").map(decodeURIComponent);
  return { run: run ?? null, view: name in VIEWS ? name : "overview" };
}

async function route() {
  const wanted = address();
  if (!wanted.run) {
    const { runs } = await askJson("runs");
    if (!runs.length) return say(view.firstElementChild, "There is no run in this folder yet.");
    location.replace(`#/${encodeURIComponent(runs[0].name)}/${wanted.view}`);
    return;
  }
  const moved = wanted.run !== place.run;
  if (!moved && wanted.view === place.view) return;
  const first = place.run === null;
  place = wanted;
  drawViews();
  const [title, View] = VIEWS[wanted.view];
  shown?.remove();
  shown = new View(view, wanted.run);
  part("heading").textContent = title;
  document.title = `${title}, ${wanted.run}, nesypr`;
  if (!first) part("main").focus();
  if (moved) {
    source?.stop();
    source = new Source(wanted.run, changed, (words) => say(part("link"), words));
    offerRuns();
  } else if (source.run.cursor) shown.update(source.run);
}

function drawViews() {
  part("views").replaceChildren(...Object.entries(VIEWS).map(([key, [title]]) => make("li", {}, make("a", {
    href: `#/${encodeURIComponent(place.run)}/${key}`, "aria-current": key === place.view ? "page" : null }, title))));
}

async function offerRuns() {
  const { runs } = await askJson("runs");
  part("run").replaceChildren(...runs.map(({ name, state }) => make("option", {
    value: name, selected: name === place.run }, state === "running" ? `${name} (running)` : name)));
}

function changed(run) {
  const { now } = run;
  part("state").dataset.state = now.state;
  say(part("state"), now.state);
  part("progress").value = now.tasks ? now.tasks_done / now.tasks : 0;
  standing(run);
  alarms(run);
  shown?.update(run);
}

function standing(run) {
  const { now } = run;
  const since = now.last_event == null ? null : Date.now() / 1000 + run.skew - now.last_event;
  const words = [`${whole(now.tasks_done)} of ${whole(now.tasks)} tasks (${percent(now.tasks ? now.tasks_done / now.tasks : null, 0)})`,
    `phase ${now.phase}`, `run time ${clock(now.seconds)}`];
  if (since != null) words.push(`last event ${age(since)} ago`);
  if (now.read < 0.999) words.push(`reading the log: ${percent(now.read, 0)}`);
  if (now.broken_lines) words.push(`${now.broken_lines} lines of the log could not be read`);
  say(part("standing"), words.join(" · "));
}

function alarms(run) {
  const key = JSON.stringify([run.alarms, run.now.state]);
  if (alarms.key === key) return;
  alarms.key = key;
  const all = run.alarms ?? [];
  const card = (alarm, past) => make("div", { class: past ? "alarm past" : "alarm" },
    make("span", { class: "kind" }, alarm.kind.replaceAll("_", " ")),
    make("p", {}, alarm.message, " ", make("span", { class: "soft small" },
      past ? `from ${clock(alarm.since)} to ${clock(alarm.until)}` : `since ${clock(alarm.since)}`)));
  const standing = all.filter((alarm) => alarm.until == null);
  const past = all.filter((alarm) => alarm.until != null);
  const open = part("alarms").querySelector("details")?.open;
  part("alarms").replaceChildren(
    ...standing.map((alarm) => card(alarm, false)),
    standing.length ? "" : make("p", { class: "calm" }, past.length ? "No alarm stands." : "No alarm."),
    past.length ? make("details", { open }, make("summary", {}, `${past.length} past alarms`),
      past.slice(0, PAST_ALARMS).map((alarm) => card(alarm, true))) : "");
}

function scheme(chosen) {
  if (chosen === "auto") delete document.documentElement.dataset.scheme;
  else document.documentElement.dataset.scheme = chosen;
  localStorage.setItem("nesypr scheme", chosen);
  say(part("scheme"), SCHEMES[chosen]);
  recolour();
  dispatchEvent(new Event("schemechange"));
}

part("scheme").addEventListener("click", () => {
  const names = Object.keys(SCHEMES);
  const now = localStorage.getItem("nesypr scheme") ?? "auto";
  scheme(names[(names.indexOf(now) + 1) % names.length]);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  recolour();
  dispatchEvent(new Event("schemechange"));
});
part("run").addEventListener("change", (event) => {
  location.hash = `#/${encodeURIComponent(event.target.value)}/${place.view}`;
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  part("main").focus();
});
addEventListener("hashchange", () => route().catch(complain));
setInterval(() => source?.run.cursor && standing(source.run), 1000);

function complain(error) {
  view.replaceChildren(make("p", { role: "alert" }, error.message));
}

takeToken();
scheme(localStorage.getItem("nesypr scheme") ?? "auto");
route().catch(complain);
