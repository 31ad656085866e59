// Numbers and times as words, and small pieces of the document.

export const dash = "–";

export const percent = (share, digits = 1) =>
  share == null ? dash : `${(100 * share).toFixed(digits)} %`;

export const number = (value, digits = 1) =>
  value == null ? dash : Number.isInteger(value) ? whole(value) : value.toFixed(digits);

export const whole = (value) => (value == null ? dash : Math.round(value).toLocaleString("en"));

export const interval = (low, high) =>
  low == null || high == null ? "" : `${percent(low)} to ${percent(high)}`;

export function clock(seconds) {
  if (seconds == null) return dash;
  const all = Math.max(0, Math.floor(seconds));
  const two = (value) => String(value).padStart(2, "0");
  const hours = Math.floor(all / 3600);
  const rest = `${two(Math.floor(all / 60) % 60)}:${two(all % 60)}`;
  return hours ? `${hours}:${rest}` : rest;
}

export function age(seconds) {
  if (seconds == null) return dash;
  if (seconds < 120) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

export function bytes(size) {
  if (size == null) return dash;
  for (const [unit, scale] of [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]])
    if (size >= scale) return `${(size / scale).toFixed(1)} ${unit}`;
  return `${size} B`;
}

// An element: make("p", {class: "soft"}, "words", child, …); a property that starts with "on" listens.
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value == null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child != null));
  return element;
}

// A table (its caption shown if `said`) in a region that scrolls and can be reached by keyboard.
export function table(caption, head, rows, { tall = false, words = [], said = false } = {}) {
  const kind = (place) => (words.includes(place) ? "words wrap" : null);
  return make(
    "div",
    { class: tall ? "scroll tall" : "scroll", tabindex: 0, role: "region", "aria-label": caption },
    make(
      "table",
      {},
      make("caption", { class: said ? null : "hidden" }, caption),
      make("thead", {}, make("tr", {}, head.map((name, place) =>
        make("th", { scope: "col", class: kind(place) }, name)))),
      make("tbody", {}, rows.map((row) => make("tr", {}, row.map((cell, place) =>
        place === 0
          ? make("th", { scope: "row", class: kind(place) }, cell ?? dash)
          : make("td", { class: kind(place) }, cell ?? dash))))),
    ),
  );
}

// Sets an element's text only where it differs, so that nothing is announced twice.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
