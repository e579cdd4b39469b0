// The page of several pictures: unpacks what each needs, gives each a stand-in for its model, and ties their cursors.
const packed = (id) => Uint8Array.from(atob(document.getElementById(id).textContent.trim()), (one) => one.charCodeAt(0));
const unpack = async (id) => new Uint8Array(await new Response(new Blob([packed(id)]).stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer());
const models = [];
let darkNow = matchMedia("(prefers-color-scheme: dark)").matches;

function standIn(values) {
  const listeners = {};
  const model = {
    get: (name) => values[name],
    set(name, value) {
      values[name] = value;
      (listeners[`change:${name}`] ?? []).slice().forEach((call) => call());
    },
    save_changes() {},
    on: (event, call) => (listeners[event] ??= []).push(call),
    off: (event, call) => (listeners[event] = (listeners[event] ?? []).filter((one) => one !== call)),
  };
  models.push(model);
  model.on("change:moved", () => moved(model.get("moved").places ?? {}));
  return model;
}

// One place for all pictures. A picture only says what a person did; what it is told it draws and does not say again.
let shared = {};
function moved(places) {
  const next = { ...shared, ...places };
  for (const [axis, entry] of Object.entries(next)) if (entry === null || entry === undefined) delete next[axis];
  if (JSON.stringify(next) === JSON.stringify(shared)) return;
  shared = next;
  for (const model of models) model.set("cursor", { ...shared });
  sayCursor();
}

function sayCursor() {
  const told = Object.entries(shared).map(([axis, entry]) => `${axis.replace(/_/g, " ")} ${entry}`);
  document.getElementById("cursor").textContent = told.length ? `Cursor: ${told.join(", ")}` : "";
  document.getElementById("uncursor").hidden = !told.length;
}

function figure(values, place) {
  const model = standIn(values), specs = { false: values.light, true: values.dark_spec };
  model.on("change:dark", () => {
    const dark = model.get("dark");
    if (model.get("drawn_dark") === dark) return;
    model.set("spec", specs[dark]);
    model.set("drawn_dark", dark);
    model.set("seq", model.get("seq") + 1);
  });
  widgets.figure.render({ model, el: place });
}

// A view made of text lies in a shadow, so that its style and ids stay its own.
function painted({ light, dark, name }, place, tools) {
  const shadow = place.attachShadow({ mode: "open" });
  const show = () => {
    shadow.innerHTML = `<div class="${darkNow ? "lab-dark" : ""}">${darkNow ? dark : light}</div>`;
  };
  show();
  document.addEventListener("labkit-theme", show);
  const add = (words, says, act) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: words, title: says, onclick: act });
    button.setAttribute("aria-label", says);
    tools.append(button);
  };
  const rows = () => [...shadow.querySelectorAll("table tr")].map((row) => [...row.cells].map((cell) => cell.innerText.trim()));
  add("PNG", "Save the picture as PNG", () => pixels(shadow.firstChild, place, name));
  add("SVG", "Save the picture as SVG", () => saveFile(fileName(name, "svg"), drawing(shadow.firstChild, place), "image/svg+xml"));
  if (shadow.querySelector("table")) add("CSV", "Save the table as CSV", () => saveFile(fileName(name, "csv"), csvText(rows()), "text/csv"));
}

function drawing(part, place) {
  const { width, height } = place.getBoundingClientRect(), style = getComputedStyle(document.body);
  const holder = document.createElement("div");
  holder.setAttribute("style", `background:${style.backgroundColor};color:${style.color};font-family:${style.fontFamily};padding:8px`);
  holder.append(part.cloneNode(true));
  const inside = new XMLSerializer().serializeToString(holder);
  const size = `width="${Math.ceil(width) + 16}" height="${Math.ceil(height) + 16}"`;
  return `<svg xmlns="http://www.w3.org/2000/svg" ${size}><foreignObject width="100%" height="100%">${inside}</foreignObject></svg>`;
}

async function pixels(part, place, name) {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(drawing(part, place))}`;
  await image.decode();
  const canvas = Object.assign(document.createElement("canvas"), { width: 2 * image.width, height: 2 * image.height });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  canvas.toBlob((blob) => saveFile(fileName(name, "png"), blob, "image/png"));
}

function themed(dark) {
  darkNow = dark;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  const button = document.getElementById("theme");
  button.textContent = dark ? "Light" : "Dark";
  button.setAttribute("aria-label", dark ? "Show the page light" : "Show the page dark");
  document.dispatchEvent(new Event("labkit-theme"));
}

async function begin() {
  themed(darkNow);
  document.getElementById("theme").onclick = () => themed(!darkNow);
  document.getElementById("uncursor").onclick = () => moved(Object.fromEntries(Object.keys(shared).map((axis) => [axis, null])));
  if (document.getElementById("plotly")) widgets.once.initialize({ model: { get: () => plotlyText } });
  for (const [at, section] of [...document.querySelectorAll("section[data-kind]")].entries()) {
    const values = JSON.parse(new TextDecoder().decode(await unpack(`values${at}`)), (_, value) =>
      value?.bytes === undefined ? value : new DataView(Uint8Array.from(atob(value.bytes), (one) => one.charCodeAt(0)).buffer));
    const place = section.querySelector(".place"), kind = section.dataset.kind;
    if (kind === "figure") figure(values, place);
    else if (kind === "array") widgets.array.render({ model: standIn(values), el: place });
    else painted(values, place, section.querySelector(".tools"));
  }
  shared = JSON.parse(document.getElementById("shared").textContent);
  for (const model of models) model.set("cursor", { ...shared });
  sayCursor();
  globalThis.labkitModels = models;
}

const plotlyText = document.getElementById("plotly") ? await unpack("plotly") : null;
begin();
