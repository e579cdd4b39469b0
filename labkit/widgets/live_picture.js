// A picture that moves: cells as colours, or one row as bars, redrawn for every message. Only model.get, set,
// save_changes, on and off: the same module runs in a notebook, in Panel and in an exported page. `state` is JSON text;
// `cells` holds a code for each cell and, of small pictures, its value as half-precision number.
const SHOWN = 90, ASKED = 150, OLD = 600, SPEAK = 1000;

function part(tag, name, parent, attributes = {}) {
  const made = document.createElement(tag);
  made.className = `labkit-picture-${name}`;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  parent.append(made);
  return made;
}

function render({ model, el }) {
  const root = part("div", "root", el, { role: "group" });
  const head = part("div", "head", root), title = part("div", "title", head), step = part("div", "step", head);
  const says = part("div", "says", root), plot = part("div", "plot", root);
  // JupyterLab must not take the arrow keys for itself while the picture has the focus
  const canvas = part("canvas", "canvas", plot, { tabindex: 0, role: "img", "data-lm-suppress-shortcuts": "true" });
  const bubble = part("div", "bubble", plot, { "aria-hidden": "true", hidden: "" });
  const legend = part("div", "legend", root, { "aria-hidden": "true" }), line = part("div", "line", root, { "aria-hidden": "true" });
  const spoken = part("div", "spoken", root, { role: "status", "aria-live": "polite" }), note = part("div", "note", root);
  const context = canvas.getContext("2d"), pen = canvasPen(context, getComputedStyle(root).fontFamily);
  let setup, state = { shape: [0, 0] }, codes = new Uint8Array(0), halves = null, box = null, colors = null, picture = null, keys = "";
  let cell = null, chosen = null, count = 0, told = null, timer = null, frame = null, arrived = false, owed = null, described = -SPEAK, describing = null;

  const wide = () => state.shape[1], tall = () => state.shape[0];
  const say = (place, text) => place.textContent !== text && (place.textContent = text);

  // One message sets several values, each with its own event; they are read together, at once.
  function arrive() {
    if (arrived) return;
    arrived = true;
    queueMicrotask(() => {
      arrived = false;
      take();
      later();
    });
  }

  function take() {
    setup = JSON.parse(model.get("setup"));
    const before = state.shape.join();
    state = JSON.parse(model.get("state") || "{}");
    const all = bytes(model.get("cells")), size = tall() * wide(), from = size + (size % 2);
    codes = all.subarray(0, size);
    halves = all.length > from ? new Uint16Array(all.slice(from).buffer) : null;
    owed = model.get("seq");
    if (before !== state.shape.join() && cell && !(cell.row < tall() && cell.column < wide())) cell = null;
    if (before !== state.shape.join()) told = null;
    if (told) told.stale = true;
    if ((state.heard ?? 0) >= count) chosen = state.picked ? { row: state.picked[0], column: state.picked[1] } : null;
  }

  function later() {
    frame ??= requestAnimationFrame(show);
  }

  function show() {
    frame = null;
    if (!setup || !plot.clientWidth || document.hidden) return; // what nobody can see is neither drawn nor acknowledged
    draw();
    if (owed !== null && model.get("acked") !== owed) {
      model.set("acked", owed);
      model.save_changes();
    }
    owed = null;
    if (cell && !halves && (!told || (told.stale && performance.now() - told.at > ASKED))) question();
  }

  function theme() {
    root.dataset.dark = isDark(root.parentElement);
    const style = getComputedStyle(root), paint = (name) => style.getPropertyValue(`--${name}`).trim();
    const own = setup.colors[root.dataset.dark === "true" ? "dark" : "light"];
    colors = { ink: paint("ink"), muted: paint("muted"), grid: paint("grid"), surface: paint("surface"), accent: paint("accent"), ...own };
    colors.tables = own.scales.map(table);
  }

  const repaint = () => {
    colors = null;
    later();
  };

  function draw() {
    if (!colors) theme();
    const scale = window.devicePixelRatio || 1, width = plot.clientWidth, empty = !tall() || !wide();
    box = empty ? null : (state.kind === "bars" ? barBox : cellBox)(pen, width, state);
    const height = box?.height ?? 90, pixels = [Math.round(width * scale), Math.round(height * scale)];
    canvas.style.height = `${height}px`;
    if (canvas.width !== pixels[0] || canvas.height !== pixels[1]) [canvas.width, canvas.height] = pixels;
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    if (empty) {
      pen.box(0.5, 0.5, width - 1, height - 1, { stroke: colors.grid });
      pen.text(fitting(pen, state.empty ?? "", width - 24), width / 2, height / 2, { align: "center", color: colors.muted, size: 14 });
    } else {
      if (state.kind === "bars") drawBars(pen, context, box, state, colors, (at) => value(0, at));
      else {
        drawCells(scale);
        cellAxes(pen, box, state, colors);
      }
      for (const mark of state.marks) drawOff(pen, context, rectangle(mark[0], mark[1]), colors);
      for (const one of [chosen, cell]) if (one) outline(rectangle(one.row, one.column), one === chosen);
    }
    words();
    sayBubble();
  }

  function drawCells(scale) {
    const colored = colors.tables[state.signed ? 1 : 0];
    if (picture?.canvas.width !== wide() || picture?.canvas.height !== tall()) {
      const made = Object.assign(document.createElement("canvas"), { width: wide(), height: tall() }), ink = made.getContext("2d");
      const image = ink.createImageData(wide(), tall());
      picture = { canvas: made, ink, image, pixels: new Uint32Array(image.data.buffer) };
    }
    for (let at = 0; at < codes.length; at++) picture.pixels[at] = colored[codes[at]];
    picture.ink.putImageData(picture.image, 0, 0);
    const { area } = box;
    if (state.missing) hatch(pen, area, colors.surface, colors.grid);
    const coarse = area.width * scale < wide() || area.height * scale < tall();
    pen.image(picture.canvas, area.x, area.y, area.width, area.height, area, coarse);
    if (!state.pictures) pen.box(area.x - 0.5, area.y - 0.5, area.width + 1, area.height + 1, { stroke: colors.grid });
  }

  // Where a cell lies; of a row or column that is meant whole, column or row is null.
  function rectangle(row, column) {
    const { area } = box;
    const x = column === null ? area.x : area.x + (column / wide()) * area.width, right = column === null ? area.x + area.width : area.x + ((column + 1) / wide()) * area.width;
    const bars = state.kind === "bars";
    const y = row === null || bars ? area.y : area.y + (row / tall()) * area.height, bottom = row === null || bars ? area.y + area.height : area.y + ((row + 1) / tall()) * area.height;
    return { x, y, right, bottom };
  }

  function outline({ x, y, right, bottom }, strong) {
    const grow = (low, high) => Math.max(0, (7 - (high - low)) / 2);
    const [across, down] = [grow(x, right), grow(y, bottom)];
    const at = [x - across - 0.5, y - down - 0.5, right - x + 2 * across + 1, bottom - y + 2 * down + 1];
    pen.box(...at, { stroke: colors.surface, thick: strong ? 6 : 4 });
    pen.box(...at, { stroke: strong ? colors.accent : colors.ink, thick: strong ? 3 : 1.5 });
  }

  // ---- words

  function value(row, column) {
    const at = row * wide() + column;
    return codes[at] ? (halves ? half(halves[at]) * state.scale : valueOf(codes[at], state)) : NaN;
  }

  const written = (number) => wording(number, state);

  function valueWords({ row, column }) {
    const found = value(row, column);
    if (Number.isNaN(found)) return "no value";
    if (halves) return written(found);
    if (told && told.row === row && told.column === column && (!told.stale || performance.now() - told.at < OLD)) return told.text;
    return `about ${written(found)}`;
  }

  function where({ row, column }) {
    const [down, across] = state.axes, name = (axis, place) => `${axis.word.toLowerCase()} ${labelOf(axis, place)}`;
    return tall() === 1 && down.word === "Values" ? name(across, column) : `${name(down, row)}, ${name(across, column)}`;
  }

  function markWords({ row, column }) {
    return state.marks.filter((one) => (one[0] ?? row) === row && (one[1] ?? column) === column).map((one) => one[2]).join(" ");
  }

  const gap = ({ row, column }) => state.pictures && !codes[row * wide() + column];

  function words() {
    say(title, state.title ?? "");
    say(says, state.says ?? "");
    say(step, typeof state.step === "number" ? `step ${state.step.toLocaleString("en-US")}` : "");
    say(note, state.note ?? "");
    const shown = box && state.kind !== "bars", key = JSON.stringify([shown, state.limits, state.signed, state.name, state.units, state.missing, state.marks?.length, state.even, root.dataset.dark]);
    if (keys !== key) {
      keys = key;
      buildLegend(shown);
    }
    const at = chosen && box ? `Chosen: ${where(chosen)}, ${valueWords(chosen)}. ${markWords(chosen)}` : "";
    say(line, box ? at || (state.kind === "bars" ? "Click a bar, or press Enter, to choose it." : "Click a cell, or press Enter, to choose it.") : "");
    root.setAttribute("aria-label", state.title || "Picture");
    describe();
  }

  // The description for screen readers changes at most once a second.
  function describe() {
    const due = described + SPEAK - performance.now();
    if (due > 0) {
      describing ??= setTimeout(() => {
        describing = null;
        describe();
      }, due);
      return;
    }
    described = performance.now();
    const label = box ? `${state.title}. ${state.says} ${state.alt} The arrow keys move through the cells, Enter chooses one.` : state.empty ?? "";
    if (canvas.getAttribute("aria-label") !== label) canvas.setAttribute("aria-label", label);
  }

  function buildLegend(shown) {
    legend.replaceChildren();
    const group = (name) => part("span", name, legend), put = (words, name, parent) => part("span", name, parent).append(words);
    if (shown) {
      const scale = group("scale"), stops = colors.scales[state.signed ? 1 : 0];
      put(state.units && state.units !== "fraction" ? `${state.name} (${state.units})` : state.name, "name", scale);
      const ends = part("span", "ends", scale);
      put(written(state.limits[0]), "end", ends);
      part("i", "bar", ends).style.background = `linear-gradient(to right, ${stops.join(", ")})`;
      put(written(state.limits[1]), "end", ends);
    }
    if (box && typeof state.even === "number" && state.kind === "bars") {
      const even = group("key");
      part("i", "even", even).style.borderColor = colors.even;
      put(`an even share would be ${written(state.even)}`, "words", even);
    }
    if (box && state.missing) {
      const missing = group("key");
      part("i", "missing", missing);
      put("no value", "words", missing);
    }
    if (box && state.marks.length) put("✕ changed by hand", "words", group("key"));
  }

  function sayBubble() {
    const focused = canvas.getRootNode().activeElement === canvas;
    bubble.hidden = !cell || !box || gap(cell) || !(cell.by === "pointer" || focused);
    if (bubble.hidden) return;
    const found = [valueWords(cell), where(cell), markWords(cell)], key = JSON.stringify(found);
    if (bubble.dataset.key !== key) {
      bubble.dataset.key = key;
      bubble.replaceChildren(Object.assign(document.createElement("b"), { textContent: found[0] }), found[1], ...(found[2] ? [Object.assign(document.createElement("small"), { textContent: found[2] })] : []));
    }
    const { x, right, y } = rectangle(cell.row, cell.column), before = x > plot.clientWidth / 2;
    Object.assign(bubble.style, { left: before ? "auto" : `${right + 12}px`, right: before ? `${plot.clientWidth - x + 12}px` : "auto" });
    bubble.style.top = `${Math.max(0, Math.min(box.height - 56, (state.kind === "bars" ? box.area.y : y) - 14))}px`;
  }

  // ---- the pointer and the keys

  function question() {
    if (timer) return;
    timer = setTimeout(() => {
      timer = null;
      if (!cell || halves) return;
      model.set("asked", JSON.stringify({ row: cell.row, column: cell.column, count: ++count }));
      model.save_changes();
    }, SHOWN);
  }

  function answer() {
    const found = JSON.parse(model.get("told") || "{}");
    if (found.row === undefined) return;
    told = { ...found, at: performance.now() };
    if (cell?.by === "keys" && cell.row === told.row && cell.column === told.column && cell.waits) speak();
    later();
  }

  function point(row, column, by) {
    if (cell && cell.row === row && cell.column === column && cell.by === by) return;
    cell = { row, column, by, waits: !halves };
    told = null;
    if (by === "keys") speak();
    later();
  }

  function speak() {
    say(spoken, `${where(cell)}: ${valueWords(cell)}${markWords(cell) ? `. ${markWords(cell)}` : ""}`);
  }

  function leave() {
    if (!cell) return;
    cell = null;
    later();
  }

  function choose(one) {
    if (one && gap(one)) return;
    chosen = one && { row: one.row, column: one.column };
    model.set("chosen", JSON.stringify({ ...(chosen ?? { row: null, column: null }), count: ++count }));
    model.save_changes();
    if (one) say(spoken, `Chosen: ${where(one)}: ${valueWords(one)}`);
    later();
  }

  function under(event) {
    if (!box) return null;
    const frameBox = canvas.getBoundingClientRect(), { area } = box;
    const across = (event.clientX - frameBox.left - area.x) / area.width, down = (event.clientY - frameBox.top - area.y) / area.height;
    if (across < 0 || across >= 1 || down < 0 || down >= 1) return null;
    return { row: state.kind === "bars" ? 0 : Math.floor(down * tall()), column: Math.floor(across * wide()) };
  }

  function hover(event) {
    const at = under(event);
    canvas.style.cursor = at ? "crosshair" : "default";
    if (at) point(at.row, at.column, "pointer");
    else if (cell?.by === "pointer") leave();
  }

  function press(event) {
    if (!box || event.altKey) return;
    const far = event.shiftKey ? 10 : 1, all = event.ctrlKey || event.metaKey, start = cell ?? chosen;
    const at = start ?? { row: 0, column: 0 }, page = Math.max(1, Math.round(tall() / 4));
    const moves = {
      ArrowLeft: [0, -far], ArrowRight: [0, far], ArrowUp: [-far, 0], ArrowDown: [far, 0], PageUp: [-page, 0], PageDown: [page, 0],
      Home: [all ? -Infinity : 0, -Infinity], End: [all ? Infinity : 0, Infinity],
    };
    if (moves[event.key]) {
      const [down, across] = start || !event.key.startsWith("Arrow") ? moves[event.key] : [0, 0]; // the first arrow shows where one is
      const inside = (place, most) => Math.min(most - 1, Math.max(0, place));
      point(inside(at.row + down, tall()), inside(at.column + across, wide()), "keys");
    } else if ((event.key === "Enter" || event.key === " ") && cell && !all) choose(cell);
    else if (event.key === "Escape" && (cell || chosen)) {
      if (cell) leave();
      else choose(null);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  const click = (event) => {
    const at = under(event);
    if (at) choose(at);
  };
  const out = () => cell?.by === "pointer" && leave();
  const listeners = { pointermove: hover, pointerdown: hover, pointerleave: out, click, blur: leave, keydown: press };
  for (const [name, call] of Object.entries(listeners)) canvas.addEventListener(name, call);
  const changes = ["seq", "state", "cells", "setup"].map((name) => `change:${name}`);
  for (const change of changes) model.on(change, arrive);
  model.on("change:told", answer);
  const observer = new ResizeObserver(later);
  observer.observe(plot);
  const sharper = matchMedia(`(resolution: ${window.devicePixelRatio}dppx)`);
  sharper.addEventListener("change", later);
  document.addEventListener("visibilitychange", later);
  const forget = watchTheme(repaint);
  // A second view of the same picture goes on counting where the first one is.
  for (const name of ["chosen", "asked"]) count = Math.max(count, JSON.parse(model.get(name) || "{}").count ?? 0);
  arrive();
  return () => {
    for (const change of changes) model.off(change, arrive);
    model.off("change:told", answer);
    clearTimeout(timer);
    clearTimeout(describing);
    cancelAnimationFrame(frame);
    observer.disconnect();
    sharper.removeEventListener("change", later);
    document.removeEventListener("visibilitychange", later);
    forget();
  };
}

export default { render };
