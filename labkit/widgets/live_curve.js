// Growing curves on a canvas. Only model.get, set, save_changes, on and off: the same module runs in a notebook, in
// Panel and in an exported page. `state` is JSON text; `points` holds, for each series, its x and then its y as float32.
const DASHES = { solid: [], dash: [8, 5], dot: [2, 4], dashdot: [8, 4, 2, 4], longdash: [14, 5], longdashdot: [14, 4, 2, 4] };
const SVG = "http://www.w3.org/2000/svg";

function make(tag, name, parent, attributes = {}) {
  const element = document.createElement(tag);
  element.className = `labkit-curve-${name}`;
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  parent.append(element);
  return element;
}

function render({ model, el }) {
  const root = make("div", "root", el, { role: "group" });
  const meter = make("div", "meter", root, { role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100 });
  const bar = make("div", "bar", meter);
  const status = make("div", "status", root);
  const title = make("div", "title", root);
  const legend = make("div", "legend", root);
  const plot = make("div", "plot", root);
  // JupyterLab must not take the arrow keys for itself while the picture has the focus
  const canvas = make("canvas", "canvas", plot, { tabindex: 0, role: "img", "data-lm-suppress-shortcuts": "true" });
  const readout = make("div", "readout", plot, { role: "status", "aria-live": "polite", hidden: "" });
  const note = make("div", "note", root);
  const context = canvas.getContext("2d");
  const hidden = new Set();
  let state = read(model), stops = [], arrived = false, frame = null, cursor = null, box = null, shown = "";

  const color = (line) => (root.dataset.dark === "true" ? line.dark : line.light);
  const visible = () => state.series.filter((line) => line.count && !hidden.has(line.name));
  const named = () => visible().filter((line) => !line.faint);

  // One message sets several values, each with its own event; they are drawn together, at once.
  function arrive() {
    if (arrived) return;
    arrived = true;
    queueMicrotask(() => {
      arrived = false;
      state = read(model);
      stops = [...new Set(named().flatMap((line) => Array.from(line.xs)))].sort((a, b) => a - b);
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
    const lines = visible();
    box = lines.length ? frameOf(lines, width, height) : null;
    words();
    if (!box) {
      context.fillStyle = paint("muted");
      context.textAlign = "center";
      const message = state.series.some((line) => line.count) ? "All curves are switched off." : state.empty || "No values yet.";
      context.fillText(message, width / 2, height / 2);
    } else {
      axes(paint);
      for (const line of lines) if (line.faint) stroke(line, 1, 0.4);
      for (const line of named()) stroke(line, 2.5, 1);
      for (const line of named()) dot(line, line.count - 1, 3.5, paint("surface"));
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
    const entries = state.series.filter((line) => !line.faint);
    const key = JSON.stringify([entries.map((line) => [line.name, color(line), line.dash]), [...hidden]]);
    if (key !== shown) {
      shown = key;
      const focus = [...legend.children].indexOf(legend.getRootNode().activeElement);
      legend.replaceChildren(...entries.map(entry));
      legend.children[focus]?.focus();
    }
    const range = box ? box.high - box.low : 1;
    const digits = Math.min(6, Math.max(0, 2 - Math.floor(Math.log10(range || 1))));
    entries.forEach((line, place) => {
      const last = line.count ? spell(line.ys[line.count - 1], digits) : "–";
      const value = legend.children[place].lastChild;
      if (value.textContent !== last) value.textContent = last;
    });
    const told = named().map((line) => `${line.name} is at ${exact(line.ys[line.count - 1])} at ${state.x} ${exact(line.xs[line.count - 1])}`);
    canvas.setAttribute("aria-label", `${state.y ?? "Value"} against ${state.x}. ${told.join("; ") || "No values yet"}. The left and right arrow keys read the values.`);
  }

  function entry(line) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "labkit-curve-entry";
    button.setAttribute("aria-pressed", !hidden.has(line.name));
    button.title = `Show or hide ${line.name}`;
    const swatch = document.createElementNS(SVG, "svg"), path = document.createElementNS(SVG, "path");
    swatch.setAttribute("viewBox", "0 0 34 10");
    path.setAttribute("d", "M1 5H33");
    path.setAttribute("stroke", color(line));
    path.setAttribute("stroke-dasharray", DASHES[line.dash]?.join(" ") ?? "");
    swatch.append(path);
    button.append(swatch, Object.assign(document.createElement("span"), { textContent: line.name }), document.createElement("b"));
    button.onclick = () => {
      if (!hidden.delete(line.name)) hidden.add(line.name);
      arrive();
    };
    return button;
  }

  function frameOf(lines, width, height) {
    const found = scaled(lines, state.across, state.limits);
    const across = ticks(found.left, found.right, Math.max(2, width / 110), Number.isInteger(found.left));
    const down = ticks(found.low, found.high, 5);
    const labels = down.places.map((place) => spell(place, down.digits));
    const room = Math.ceil(Math.max(...labels.map((text) => context.measureText(text).width))) + 12;
    const area = { x: room, y: 30, width: width - room - 18, height: height - 30 - 46 };
    const px = (x) => area.x + ((x - found.left) / (found.right - found.left)) * area.width;
    const py = (y) => area.y + (1 - (y - found.low) / (found.high - found.low)) * area.height;
    return { ...found, across, down, labels, area, px, py };
  }

  function axes(paint) {
    const { area, across, down, labels, px, py } = box;
    context.lineWidth = 1;
    context.strokeStyle = paint("grid");
    context.fillStyle = paint("muted");
    context.textBaseline = "middle";
    context.textAlign = "right";
    context.beginPath();
    down.places.forEach((place, at) => {
      const y = Math.round(py(place)) + 0.5;
      context.moveTo(area.x, y);
      context.lineTo(area.x + area.width, y);
      context.fillText(labels[at], area.x - 8, y);
    });
    context.moveTo(area.x, Math.round(area.y + area.height) + 0.5);
    context.lineTo(area.x + area.width, Math.round(area.y + area.height) + 0.5);
    context.stroke();
    context.textAlign = "center";
    for (const place of across.places) context.fillText(spell(place, across.digits), px(place), area.y + area.height + 15);
    context.fillStyle = paint("ink");
    context.fillText(state.x ?? "", area.x + area.width / 2, area.y + area.height + 36);
    context.textAlign = "left";
    context.fillText(state.y ?? "", 0, 10);
  }

  function stroke(line, width, alpha) {
    context.save();
    context.beginPath();
    context.rect(box.area.x - 4, box.area.y - 4, box.area.width + 8, box.area.height + 8);
    context.clip();
    Object.assign(context, { globalAlpha: alpha, strokeStyle: color(line), lineWidth: width, lineJoin: "round" });
    context.setLineDash(line.faint ? [] : DASHES[line.dash] ?? []);
    context.beginPath();
    let pen = false;
    for (let at = 0; at < line.count; at++) {
      if (!Number.isFinite(line.ys[at])) pen = false;
      else if (pen) context.lineTo(box.px(line.xs[at]), box.py(line.ys[at]));
      else {
        context.moveTo(box.px(line.xs[at]), box.py(line.ys[at]));
        pen = true;
      }
    }
    context.stroke();
    context.restore();
  }

  function dot(line, at, radius, surface) {
    if (!Number.isFinite(line.ys[at])) return;
    context.beginPath();
    context.arc(box.px(line.xs[at]), box.py(line.ys[at]), radius, 0, 2 * Math.PI);
    Object.assign(context, { fillStyle: color(line), strokeStyle: surface, lineWidth: 1.5 });
    context.fill();
    context.stroke();
  }

  // The cursor: a line at one x, a dot on every curve, and the exact values as text.
  function point(paint) {
    const rows = cursor === null || !box ? [] : named().map((line) => ({ line, at: nearest(line.xs, cursor) }))
      .filter(({ line }) => cursor >= line.xs[0] && cursor <= line.xs[line.count - 1])
      .filter(({ line, at }) => Number.isFinite(line.ys[at])).sort((a, b) => b.line.ys[b.at] - a.line.ys[a.at]);
    readout.hidden = !rows.length;
    if (!rows.length) return;
    const x = box.px(cursor);
    context.strokeStyle = paint("muted");
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(Math.round(x) + 0.5, box.area.y);
    context.lineTo(Math.round(x) + 0.5, box.area.y + box.area.height);
    context.stroke();
    for (const { line, at } of rows) dot(line, at, 5, paint("surface"));
    const head = `${state.x ?? ""} ${exact(cursor)}`;
    const text = rows.map(({ line, at }) => {
      const elsewhere = line.xs[at] === cursor ? "" : ` (at ${exact(line.xs[at])})`;
      return [color(line), line.name, exact(line.ys[at]) + elsewhere];
    });
    const key = JSON.stringify([head, text]);
    if (readout.dataset.key !== key) {
      readout.dataset.key = key;
      readout.replaceChildren(Object.assign(document.createElement("strong"), { textContent: head }));
      for (const [ink, name, value] of text) {
        const row = make("div", "row", readout);
        make("i", "chip", row).style.background = ink;
        row.append(` ${name}: `, Object.assign(document.createElement("b"), { textContent: value }));
      }
    }
    const right = x < box.area.x + box.area.width / 2;
    readout.style.left = right ? `${x + 14}px` : "auto";
    readout.style.right = right ? "auto" : `${plot.clientWidth - x + 14}px`;
    readout.style.top = `${box.area.y + 6}px`;
  }

  function hover(event) {
    if (!box || !stops.length) return;
    const share = (event.clientX - canvas.getBoundingClientRect().left - box.area.x) / box.area.width;
    cursor = stops[nearest(stops, box.left + share * (box.right - box.left))];
    later();
  }

  function leave() {
    cursor = null;
    later();
  }

  function press(event) {
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
