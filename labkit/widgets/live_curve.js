// Growing curves on a canvas. Only model.get, set, save_changes, on and off: the same module runs in a notebook, in
// Panel and in an exported page. `state` is JSON text; `points` holds, for each series, its x and then its y as float32.
const CLOSE = 6; // pixels within which an event belongs to the place that is read

function render({ model, el }) {
  const root = make("div", "root", el, { role: "group" });
  const meter = make("div", "meter", root, { role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100 });
  const bar = make("div", "bar", meter);
  const status = make("div", "status", root);
  const title = make("div", "title", root);
  const names = make("div", "legend", root);
  const tools = make("div", "tools", root, { role: "toolbar", "aria-label": "How the curves are drawn", hidden: "" });
  const plot = make("div", "plot", root);
  // JupyterLab must not take the arrow keys for itself while the picture has the focus
  const canvas = make("canvas", "canvas", plot, { tabindex: 0, role: "img", "data-lm-suppress-shortcuts": "true" });
  const readout = make("div", "readout", plot, { role: "status", "aria-live": "polite", hidden: "" });
  const note = make("div", "note", root);
  const context = canvas.getContext("2d");
  const hidden = new Set(), chosen = { log: false, seeds: false };
  const legend = legendOf(names, tools, model, hidden, chosen, arrive);
  let state = read(model), stops = [], arrived = false, frame = null, cursor = null, box = null, count = 0;

  const color = (line) => (root.dataset.dark === "true" ? line.dark : line.light);
  const banded = (name) => state.series.some((line) => line.band && line.name === name);
  const alone = (line) => chosen.seeds || !line.faint || !banded(line.of);
  const visible = () => state.series.filter((line) => line.count && !hidden.has(line.name) && !hidden.has(line.of) && alone(line));
  const named = () => visible().filter((line) => !line.faint);
  const events = () => state.events ?? [];

  // One message sets several values, each with its own event; they are drawn together, at once.
  function arrive() {
    if (arrived) return;
    arrived = true;
    queueMicrotask(() => {
      arrived = false;
      state = read(model);
      const places = named().flatMap((line) => Array.from(line.xs));
      if (places.length) places.push(...events().map((event) => event.step));
      stops = [...new Set(places)].sort((a, b) => a - b);
      show();
    });
  }

  function later() {
    frame ??= requestAnimationFrame(show);
  }

  function show() {
    cancelAnimationFrame(frame);
    frame = null;
    if (!plot.clientWidth || document.hidden) return; // what nobody can see is neither drawn nor acknowledged
    draw();
    if (model.get("acked") !== model.get("seq")) {
      model.set("acked", model.get("seq"));
      model.save_changes();
    }
  }

  function draw() {
    root.dataset.dark = isDark(root.parentElement);
    root.setAttribute("aria-label", state.title || "Curves");
    const scale = window.devicePixelRatio || 1;
    const width = plot.clientWidth, height = state.height || 320;
    canvas.style.height = `${height}px`;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    context.setTransform(scale, 0, 0, scale, 0, 0);
    const style = getComputedStyle(root);
    const paint = (name) => style.getPropertyValue(`--${name}`).trim();
    context.font = `13px ${style.fontFamily}`;
    const lines = visible(), log = chosen.log && state.tools;
    box = lines.length ? frameOf(lines, width, height, state, log, (text) => context.measureText(text).width) : null;
    words();
    if (!box) {
      context.fillStyle = paint("muted");
      context.textAlign = "center";
      const message = state.series.some((line) => line.count) ? "All curves are switched off." : state.empty || "No values yet.";
      context.fillText(message, width / 2, height / 2);
    } else {
      drawAxes(context, box, state, paint);
      for (const line of lines) if (line.band) drawBand(context, box, line, color(line));
      drawEvents(context, box, events(), paint, near());
      for (const line of lines) if (line.faint) drawLine(context, box, line, color(line), 1, 0.4);
      for (const line of named()) drawLine(context, box, line, color(line), 2.5, 1);
      for (const line of named()) if (line.fork) drawFork(context, box, line, color(line), paint("surface"));
      for (const line of named()) drawDot(context, box, line, line.count - 1, 3.5, color(line), paint("surface"));
      if (Number.isFinite(state.cursor) && state.cursor !== null) drawViewed(context, box, state, paint);
    }
    point(paint);
  }

  function words() {
    title.textContent = state.title ?? "";
    note.textContent = state.note ?? "";
    status.textContent = state.status ?? "";
    const known = typeof state.fraction === "number";
    meter.hidden = !known;
    if (known) {
      const percent = Math.round(100 * Math.min(1, Math.max(0, state.fraction)));
      bar.style.width = `${100 * state.fraction}%`;
      meter.setAttribute("aria-valuenow", percent);
      meter.setAttribute("aria-valuetext", `${percent} %, ${state.status ?? ""}`);
    }
    const range = box ? box.high - box.low : 1;
    const digits = chosen.log && state.tools ? null : Math.min(6, Math.max(0, 2 - Math.floor(Math.log10(range || 1))));
    legend.show(state.series.filter((line) => !line.faint), state, color, digits);
    const told = named().map((line) => `${line.name} is at ${exact(line.ys[line.count - 1])} at ${state.x} ${exact(line.xs[line.count - 1])}`);
    const happened = events().length ? ` ${events().length} events are marked.` : "";
    canvas.setAttribute("aria-label", `${state.y ?? "Value"} against ${state.x}. ${told.join("; ") || "No values yet"}.${happened} The left and right arrow keys read the values.`);
  }

  const near = () => (cursor === null || !box ? [] : events().filter((event) => Math.abs(box.px(event.step) - box.px(cursor)) <= CLOSE));

  // The cursor: a line at one x, a dot on every curve, and the exact values as text.
  function point(paint) {
    const rows = cursor === null || !box ? [] : named().map((line) => ({ line, at: nearest(line.xs, cursor) }))
      .filter(({ line }) => cursor >= line.xs[0] && cursor <= line.xs[line.count - 1])
      .filter(({ line, at }) => Number.isFinite(line.ys[at])).sort((a, b) => b.line.ys[b.at] - a.line.ys[a.at]);
    const happened = near();
    readout.hidden = !rows.length && !happened.length;
    if (readout.hidden) return;
    const x = box.px(cursor);
    drawUpright(context, box, x, paint("muted"), 1);
    for (const { line, at } of rows) drawDot(context, box, line, at, 5, color(line), paint("surface"));
    const head = `${state.x ?? ""} ${exact(cursor)}`;
    const text = rows.map(({ line, at }) => {
      const elsewhere = line.xs[at] === cursor ? "" : ` (at ${exact(line.xs[at])})`;
      const span = line.band ? `, seeds ${exact(line.lows[at])} to ${exact(line.highs[at])}` : "";
      return [color(line), line.name, exact(line.ys[at]) + span + elsewhere];
    });
    const told = happened.slice(-4).map((event) => `${event.step === cursor ? "" : `${exact(event.step)}: `}${event.says}`);
    const key = JSON.stringify([head, text, told]);
    if (readout.dataset.key !== key) {
      readout.dataset.key = key;
      readout.replaceChildren(Object.assign(document.createElement("strong"), { textContent: head }));
      for (const [ink, name, value] of text) {
        const row = make("div", "row", readout);
        make("i", "chip", row).style.background = ink;
        row.append(` ${name}: `, Object.assign(document.createElement("b"), { textContent: value }));
      }
      for (const says of told) make("div", "event", readout).textContent = says;
    }
    const right = x < box.area.x + box.area.width / 2;
    readout.style.left = right ? `${x + 14}px` : "auto";
    readout.style.right = right ? "auto" : `${plot.clientWidth - x + 14}px`;
    readout.style.top = `${box.area.y + 6}px`;
  }

  function hover(event) {
    if (!box || !stops.length) return;
    const x = event.clientX - canvas.getBoundingClientRect().left, share = (x - box.area.x) / box.area.width;
    const marked = events().map((one) => [Math.abs(box.px(one.step) - x), one.step]).sort((a, b) => a[0] - b[0])[0];
    cursor = marked?.[0] <= CLOSE ? marked[1] : stops[nearest(stops, box.left + share * (box.right - box.left))];
    later();
  }

  function leave() {
    cursor = null;
    later();
  }

  function choose() {
    if (cursor === null) return;
    count = Math.max(count, JSON.parse(model.get("clicked") || "{}").count ?? 0) + 1;
    model.set("clicked", JSON.stringify({ x: cursor, count }));
    model.save_changes();
  }

  function press(event) {
    if (event.key === "Enter" && cursor !== null) {
      event.preventDefault();
      event.stopPropagation();
      return choose();
    }
    const at = cursor === null ? stops.length : nearest(stops, cursor);
    const page = Math.max(1, Math.round(stops.length / 10));
    const to = { ArrowLeft: at - 1, ArrowRight: cursor === null ? 0 : at + 1, Home: 0, End: stops.length - 1, PageUp: at - page, PageDown: at + page }[event.key];
    if (to === undefined && event.key !== "Escape") return;
    event.preventDefault();
    event.stopPropagation();
    if (to === undefined || !stops.length) return leave();
    cursor = stops[Math.min(stops.length - 1, Math.max(0, to))];
    later();
  }

  canvas.addEventListener("pointermove", hover);
  canvas.addEventListener("pointerdown", hover);
  canvas.addEventListener("click", choose);
  canvas.addEventListener("pointerleave", leave);
  canvas.addEventListener("blur", leave);
  canvas.addEventListener("keydown", press);
  const changes = ["seq", "state", "points"].map((name) => `change:${name}`);
  for (const change of changes) model.on(change, arrive);
  const observer = new ResizeObserver(later);
  observer.observe(plot);
  const sharper = matchMedia(`(resolution: ${window.devicePixelRatio}dppx)`);
  sharper.addEventListener("change", later);
  document.addEventListener("visibilitychange", later);
  const forget = watchTheme(later);
  arrive();
  return () => {
    for (const change of changes) model.off(change, arrive);
    cancelAnimationFrame(frame);
    observer.disconnect();
    sharper.removeEventListener("change", later);
    document.removeEventListener("visibilitychange", later);
    forget();
  };
}

export default { render };
