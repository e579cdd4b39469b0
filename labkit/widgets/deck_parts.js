// What all parts of the deck are made of: elements, icons, numbers in words, and orders that are sent at a pace.
const SVG = "http://www.w3.org/2000/svg";
const ICONS = {
  run: "M5 3.2v9.6L13 8z",
  pause: "M4 3h3v10H4zM9 3h3v10H9z",
  step: "M3 3.2v9.6L10 8zM11 3h2.4v10H11z",
  steps: "M1.5 3.6v8.8L7.5 8zM7.5 3.6v8.8L13.5 8zM13 3.2h2v9.6h-2z",
  stop: "M3.5 3.5h9v9h-9z",
  undo: "M6.2 2.2 1.6 6.5l4.6 4.3V8.1h3.3a2.3 2.3 0 0 1 0 4.6H6.6v2h2.9a4.3 4.3 0 0 0 0-8.6H6.2z",
  branch: "M3.2 1.5h1.8v13H3.2zM5 9.6c4.4 0 5.1-1.4 5.3-3.4H8.2l3-4.3 3 4.3h-2.1c-.2 3.4-2 5.2-7.1 5.2z",
  live: "M8 4.2a3.8 3.8 0 1 1 0 7.6 3.8 3.8 0 0 1 0-7.6z",
};

function make(tag, name, parent, attributes = {}, words = "") {
  const made = document.createElement(tag);
  made.className = name.split(" ").map((one) => `labkit-deck-${one}`).join(" ");
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (words) made.textContent = words;
  parent?.append(made);
  return made;
}

function draw(tag, parent, attributes = {}) {
  const made = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  parent.append(made);
  return made;
}

function icon(name, parent) {
  const picture = draw("svg", parent, { viewBox: "0 0 16 16", "aria-hidden": "true" });
  draw("path", picture, { d: ICONS[name] });
  return picture;
}

// A button that has heard a click is busy until Python has answered; a click on a busy button does nothing.
function button(name, parent, words, act, { picture, says } = {}) {
  const made = make("button", `button ${name}`, parent, { type: "button", "data-name": name });
  if (picture) icon(picture, made);
  make("span", "words", made, {}, words);
  if (says) made.title = says;
  made.onclick = () => {
    if (made.getAttribute("aria-disabled") !== "true" && made.getAttribute("aria-busy") !== "true") act(made);
  };
  return made;
}

// Not `disabled`, which would take the focus away from whoever just used it.
function enable(made, possible) {
  if (possible) made.removeAttribute("aria-disabled");
  else made.setAttribute("aria-disabled", "true");
}

async function waitingFor(made, answer) {
  made.setAttribute("aria-busy", "true");
  const found = await answer;
  made.removeAttribute("aria-busy");
  return found;
}

function put(made, words) {
  if (made.textContent !== words) made.textContent = words;
}

// Calls `send` at most once in `pause` ms, and always with the last value.
function paced(send, pause = 100) {
  let timer = null, next = null, before = -Infinity;
  const flush = () => {
    clearTimeout(timer);
    timer = null;
    before = performance.now();
    send(next);
  };
  return (value, last = false) => {
    next = value;
    if (last || performance.now() - before >= pause) flush();
    else timer ??= setTimeout(flush, pause - (performance.now() - before));
  };
}

const whole = (value) => Math.round(value).toLocaleString("en-US");

// A number as short as it can be with four digits: 0.03, 1,200, 1e-6.
function short(value, digits = 4) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e6)) {
    return value.toExponential(digits - 1).replace(/\.?0+e/, "e").replace("e+", "e").replace("-", "\u2212").replace("e-", "e\u2212");
  }
  return Number(value.toPrecision(digits)).toLocaleString("en-US", { maximumFractionDigits: 12 }).replace("-", "\u2212");
}

// What a person wrote as a number, NaN where it is none: a comma between thousands and a true minus are understood.
function numberOf(text) {
  const plain = String(text).trim().replace(/\u2212/g, "-").replace(/,(?=\d{3}(\D|$))/g, "");
  return plain === "" ? NaN : Number(plain);
}

const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
