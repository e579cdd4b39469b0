// A plotly figure that draws with the one copy of plotly.js of the page, which a hidden widget brings along.
// `spec` is the figure as JSON in bytes; Plotly.react replaces it in place and keeps zoom where uirevision says so.
// The button that uploads the chart is taken away: nothing here leaves this machine.
const BUTTONS = ["sendChartToCloud", "select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"];
const CONFIG = { displaylogo: false, plotlyServerURL: "", responsive: false, modeBarButtonsToRemove: BUTTONS };
const PATIENCE = 500;

function plain(value) {
  if (ArrayBuffer.isView(value)) return Array.from(value);
  return Array.isArray(value) ? value.map(plain) : (value ?? null);
}

function render({ model, el }) {
  let plotly = null, alive = true, working = false, stale = true, asked = 0, width = 0;
  let box = fresh();

  function fresh() {
    const made = document.createElement("div");
    made.className = "labkit-figure";
    made.setAttribute("role", "img");
    el.replaceChildren(made);
    return made;
  }

  // A figure that can be drawn for both themes waits a moment for the right one.
  function themed() {
    const dark = isDark(el);
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
    const seq = model.get("seq"), spec = model.get("spec");
    box.setAttribute("aria-label", model.get("alt") || "Figure");
    const known = Boolean(box.on);
    try {
      const figure = JSON.parse(new TextDecoder().decode(spec) || "{}");
      await plotly.react(box, { data: figure.data ?? [], layout: figure.layout ?? {}, frames: figure.frames ?? [], config: CONFIG });
      if (!known) box.on("plotly_click", clicked);
    } catch (error) {
      console.error("labkit: this figure could not be drawn", error);
      box = fresh(); // what is half drawn would spoil the next figure
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
  return () => {
    alive = false;
    model.off("change:seq", renew);
    observer.disconnect();
    forget();
    if (box.on) plotly.purge(box);
  };
}

export default { render };
