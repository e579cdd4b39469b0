// A plotly figure that draws with the one copy of plotly.js of the page, which a hidden widget brings along.
// `spec` is the figure as JSON in bytes; Plotly.react replaces it in place and keeps zoom where uirevision says so.
// The button that uploads the chart is taken away: nothing here leaves this machine. With `linked`, the cursor that
// several pictures share is drawn over it and moved by a click or the arrow keys.
const BUTTONS = ["sendChartToCloud", "select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d", "toImage"];
const CONFIG = { displaylogo: false, plotlyServerURL: "", responsive: false, modeBarButtonsToRemove: BUTTONS };
const PATIENCE = 500;

function plain(value) {
  if (ArrayBuffer.isView(value)) return Array.from(value);
  return Array.isArray(value) ? value.map(plain) : (value ?? null);
}

function part(tag, name, parent, attributes = {}) {
  const made = document.createElement(tag);
  if (name) made.className = `labkit-figure-${name}`;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  parent.append(made);
  return made;
}

function render({ model, el }) {
  let plotly = null, alive = true, working = false, stale = true, asked = 0, width = 0, box = null;
  const root = part("div", "root", el), stage = part("div", "stage", root);
  const said = part("div", "said", root, { role: "status", "aria-live": "polite" });
  const tools = part("div", "tools", root, { role: "group", "aria-label": "Save this picture" }), below = part("div", "below", root, { hidden: "" });
  const cursor = figureCursor({ model, stage, say: (text) => (said.textContent = text), plotly: () => plotly });
  fresh();
  button("PNG", "Save the picture as PNG", () => picture("png"));
  button("SVG", "Save the picture as SVG", () => picture("svg"));
  button("CSV", "Save the numbers as CSV", () => saveFile(named("csv"), csvText(figureRows(spec())), "text/csv"));
  const tabled = model.get("table") === undefined ? null : button("Data table", "Show the numbers as a table", toggle);
  tabled?.setAttribute("aria-expanded", "false");

  function fresh() {
    const made = document.createElement("div");
    made.className = "labkit-figure";
    made.setAttribute("role", "img");
    if (box) box.replaceWith(made);
    else stage.prepend(made);
    box = made;
  }

  function button(words, says, act) {
    const made = part("button", "button", tools, { type: "button", title: says, "aria-label": says });
    made.textContent = words;
    made.onclick = act;
    return made;
  }

  // ---- files and numbers

  const spec = () => JSON.parse(new TextDecoder().decode(model.get("spec")) || "{}");
  const named = (ending) => fileName(plainWords(spec().layout?.title?.text || model.get("alt") || "figure"), ending);

  async function picture(format) {
    const address = await plotly.toImage(box, { format, scale: format === "png" ? 2 : 1, width: box.clientWidth, height: box.clientHeight });
    const [head, body] = [address.slice(0, address.indexOf(",")), address.slice(address.indexOf(",") + 1)];
    if (format === "svg") return saveFile(named("svg"), decodeURIComponent(body), "image/svg+xml");
    saveFile(named("png"), new Blob([Uint8Array.from(atob(body), (one) => one.charCodeAt(0))], { type: head.slice(5).split(";")[0] }));
  }

  function toggle() {
    below.hidden = !below.hidden;
    tabled.setAttribute("aria-expanded", String(!below.hidden));
    model.set("tabled", !below.hidden);
    model.save_changes();
    numbers();
  }

  function numbers() {
    if (!below.hidden) below.innerHTML = model.get("table");
  }

  // ---- drawing

  // A figure that can be drawn for both themes waits a moment for the right one.
  function themed() {
    const dark = isDark(el);
    root.dataset.dark = dark;
    if (model.get("dark") !== dark) {
      model.set("dark", dark);
      model.save_changes();
    }
    if (!model.get("adapts") || model.get("drawn_dark") === dark) return true;
    asked ||= performance.now();
    return performance.now() - asked > PATIENCE;
  }

  async function work() {
    if (working) return;
    working = true;
    plotly ??= await globalThis.labkitPlotly.ready;
    while (alive && stale && el.clientWidth) {
      if (!themed()) {
        await new Promise((done) => setTimeout(done, 30));
        continue;
      }
      stale = false;
      asked = 0;
      await paint();
    }
    working = false;
  }

  async function paint() {
    const seq = model.get("seq");
    box.setAttribute("aria-label", model.get("alt") || "Figure");
    const known = Boolean(box.on);
    try {
      const figure = spec();
      await plotly.react(box, { data: figure.data ?? [], layout: figure.layout ?? {}, frames: figure.frames ?? [], config: CONFIG });
      if (!known) box.on("plotly_click", clicked);
      cursor.watch(box);
    } catch (error) {
      console.error("labkit: this figure could not be drawn", error);
      fresh(); // what is half drawn would spoil the next figure
    }
    width = el.clientWidth;
    model.set("acked", seq);
    model.save_changes();
  }

  function clicked({ points }) {
    const point = points[0];
    const found = { trace: point.data.name ?? "", x: plain(point.x), y: plain(point.y), customdata: plain(point.customdata) };
    model.set("clicked", { ...found, count: (model.get("clicked").count ?? 0) + 1 });
    model.save_changes();
  }

  function renew() {
    stale = true;
    work();
  }

  const observer = new ResizeObserver(() => {
    if (stale) work();
    else if (el.clientWidth && el.clientWidth !== width) {
      width = el.clientWidth;
      plotly?.Plots.resize(box).catch(() => {}); // it was hidden meanwhile; the next size redraws it
    }
  });
  observer.observe(el);
  const forget = watchTheme(() => el.clientWidth && themed());
  model.on("change:seq", renew);
  model.on("change:table", numbers);
  return () => {
    alive = false;
    model.off("change:seq", renew);
    model.off("change:table", numbers);
    observer.disconnect();
    cursor.forget();
    forget();
    if (box.on) plotly.purge(box);
  };
}

export default { render };
