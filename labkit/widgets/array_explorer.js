// An array as colours, of which only what is visible travels. Only model.get, set, save_changes, on and off: the same
// module runs in a notebook, in Panel and in an exported page. `wanted` asks for a window of a plane in blocks; the
// answer is `state` (JSON text) and `cells` (a byte each), and `seq`, which the browser acknowledges when it is drawn.
const HOW = [["strongest", "strongest value"], ["mean", "mean"], ["lowest", "lowest value"]];
const SCALES = { given: "the given limits", plane: "this plane", visible: "what is visible", all: "the whole array" };
const STILL = 90, BUSY = 1500;

function element(tag, name, parent, attributes = {}, words = "") {
  const made = document.createElement(tag);
  made.className = `labkit-array-${name}`;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (words) made.textContent = words;
  parent.append(made);
  return made;
}

function render({ model, el }) {
  const root = element("div", "root", el, { role: "group" });
  const title = element("div", "title", root), controls = element("div", "controls", root);
  const plot = element("div", "plot", root);
  // JupyterLab must not take the arrow keys for itself while the picture has the focus
  const canvas = element("canvas", "canvas", plot, { tabindex: 0, role: "img", "data-lm-suppress-shortcuts": "true" });
  const bubble = element("div", "bubble", plot, { "aria-hidden": "true", hidden: "" });
  const status = element("div", "status", root, { role: "status", "aria-live": "polite" });
  const note = element("div", "note", root), tools = element("div", "tools", root), below = element("div", "below", root, { hidden: "" });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const local = localArray(model), remote = local ? null : remoteArray(model);
  const source = local ?? remote;
  let setup, asked, view, shown, base, box, pen, scene, cell, chosen, exactly, timer, frame, lastKey, drag;
  let count = Math.floor(Math.random() * 2 ** 40), pending = 0, again = false, failed = "", patience = 2 * BUSY, made = "", tableOpen = false, tableKey = "", tableTimer;
  const cursor = cursorOf(model, follow);

  const size = () => [setup.axes[asked.rows].size, setup.axes[asked.columns].size];
  const dark = () => root.dataset.dark === "true";
  const paint = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();

  function begin() {
    setup = JSON.parse(model.get("setup"));
    asked = JSON.parse(model.get("first"));
    view = asked.window.slice();
    [shown, base, cell, chosen, exactly, lastKey, pending] = [null, null, null, null, null, "", 0];
    title.textContent = setup.title;
    root.setAttribute("aria-label", setup.title);
    buildControls();
    arrive();
    follow(cursor.places);
  }

  // ---- what is chosen besides the plane's two axes

  function choice(label, entries, value, change, parent = controls) {
    const holder = element("label", "choice", parent, {}, `${label} `), select = element("select", "select", holder);
    for (const [key, words] of entries) element("option", "option", select, { value: key }, words);
    select.value = value;
    select.onchange = () => change(select.value);
    return holder;
  }

  function buildControls() {
    controls.replaceChildren();
    const dims = Object.keys(setup.axes), words = dims.map((dim) => [dim, setup.axes[dim].word]);
    for (const dim of dims) {
      if (dim === asked.rows || dim === asked.columns) continue;
      const holder = element("label", "choice", controls, {}, `${setup.axes[dim].word} `);
      const slider = element("input", "slider", holder, { type: "range", min: 0, max: setup.axes[dim].size - 1, "data-dim": dim });
      element("output", "output", holder, { "data-dim": dim });
      slider.value = asked.index[dim];
      slider.oninput = () => {
        turn(dim, Number(slider.value));
        cursor.move(entriesOf({ [dim]: Number(slider.value) }));
      };
    }
    if (!local && dims.length > 2) {
      choice("Down", words, asked.rows, (dim) => redraw(dim, dim === asked.columns ? asked.rows : asked.columns));
      choice("Across", words, asked.columns, (dim) => redraw(dim === asked.rows ? asked.columns : asked.rows, dim));
    }
    const how = choice("A cell shows the", HOW, asked.how, (value) => change({ how: value }));
    how.dataset.how = "";
    choice("Colours span", setup.scales.filter((name) => name !== "all" || !local || local.all).map((name) => [name, SCALES[name]]), asked.scale, (value) => change({ scale: value }));
    choice("Colour steps", [["", "equal"], ["root", "finer near zero"]], asked.root ? "root" : "", (value) => change({ root: value === "root" }));
    tools.replaceChildren();
    const button = (words, name, act) => Object.assign(element("button", "button", tools, { type: "button", title: name, "aria-label": name }, words), { onclick: act });
    button("+", "Zoom in", () => zoom(0.5));
    button("−", "Zoom out", () => zoom(2));
    button("Whole", "Show the whole plane", () => look([0, size()[0], 0, size()[1]]));
    button("Data table", "Show what is visible as a table", toggleTable);
    button("PNG", "Save the picture as PNG", savePng);
    button("SVG", "Save the picture as SVG", saveSvg);
    button("CSV", "Save the visible numbers as CSV", saveCsv);
  }

  function redraw(rows, columns) {
    const index = {};
    for (const dim of Object.keys(setup.axes)) if (dim !== rows && dim !== columns) index[dim] = asked.index[dim] ?? 0;
    Object.assign(asked, { rows, columns, index });
    [cell, chosen] = [null, null];
    buildControls();
    look([0, setup.axes[rows].size, 0, setup.axes[columns].size]);
  }

  function change(parts) {
    Object.assign(asked, parts);
    exactly = null;
    later();
  }

  function turn(dim, place) {
    if (asked.index[dim] === place) return;
    asked.index = { ...asked.index, [dim]: place };
    const slider = controls.querySelector(`input[data-dim="${CSS.escape(dim)}"]`);
    if (slider) slider.value = place;
    exactly = null;
    if (cell) question();
    later();
  }

  // ---- the window

  function look(wanted) {
    view = clampedView(wanted, size());
    later();
  }

  function zoom(factor, row = null, column = null) {
    const at = [row ?? (cell ? cell.row + 0.5 : (view[0] + view[1]) / 2), column ?? (cell ? cell.column + 0.5 : (view[2] + view[3]) / 2)];
    look(view.map((end, k) => at[k >> 1] + (end - at[k >> 1]) * factor));
  }

  // Ask for what is visible, unless it is there; while Python works on an answer, only the last wish is kept.
  function request() {
    if (!box) return;
    const wanted = visible(), key = JSON.stringify({ ...wanted, count: 0 });
    if (key === lastKey || (shown && covers(shown.state, wanted))) return;
    if (pending && performance.now() - pending < BUSY) {
      again = true;
      return;
    }
    lastKey = key;
    pending = performance.now();
    wanted.count = ++count;
    if (local) return void local.picture(wanted).then(take);
    model.set("wanted", JSON.stringify(wanted));
    model.save_changes();
    setTimeout(() => pending && sayStatus(), 500);
    setTimeout(askAgain, patience, count);
  }

  // An answer can get lost where a kernel is very busy: ask again, less and less often.
  function askAgain(mine) {
    if (!pending || count !== mine) return;
    patience = Math.min(2 * patience, 20 * BUSY);
    lastKey = "";
    pending -= BUSY;
    request();
  }

  function visible() {
    const block = blockOf(view, box.area, setup.cells);
    return { ...asked, block, window: windowOf(view, block, size()) };
  }

  let queue = Promise.resolve();
  function arrive() {
    const state = JSON.parse(model.get("state") || "{}"), cells = bytes(model.get("cells"));
    const seq = model.get("seq");
    queue = queue.then(async () => take({ state, codes: state.zipped ? await inflated(cells) : cells, seq }))
      .catch((error) => console.error("labkit: this array could not be drawn", error));
  }

  function take({ state, codes, seq }) {
    pending = 0;
    patience = 2 * BUSY;
    failed = state.error ?? "";
    if (failed) shown = base = null;
    else if (state.shape && planeKey(state) === planeKey(asked)) {
      const picture = { state, codes };
      shown = picture;
      if (state.window[0] === 0 && state.window[2] === 0 && state.window[1] === size()[0] && state.window[3] === size()[1]) base = picture;
      else if (base && (planeKey(base.state) !== planeKey(state) || String(base.state.limits) !== String(state.limits))) base = null;
    }
    for (const [dim, words] of Object.entries(state.chosen ?? {})) {
      const output = controls.querySelector(`output[data-dim="${CSS.escape(dim)}"]`);
      if (output && state.index?.[dim] === asked.index[dim]) {
        output.textContent = words;
        output.previousSibling.setAttribute("aria-valuetext", words);
      }
    }
    if (again) {
      again = false;
      request();
    }
    if (cell && !exactly) question();
    later(seq);
  }

  // ---- drawing

  let owed = null;
  function later(seq) {
    if (typeof seq === "number") owed = seq;
    frame ??= requestAnimationFrame(draw);
  }

  function stops() {
    const [sequential, diverging] = setup.colors[dark() ? "dark" : "light"];
    return shown.state.signed ? diverging : sequential;
  }

  function imageFor(picture) {
    const theme = root.dataset.dark;
    if (picture.theme !== theme) [picture.image, picture.theme] = [imageOf(picture.codes, picture.state.shape, stops()), theme];
    return picture;
  }

  function draw() {
    frame = null;
    if (!plot.clientWidth || document.hidden) return; // what nobody can see is neither drawn nor acknowledged
    root.dataset.dark = isDark(root.parentElement);
    const scale = window.devicePixelRatio || 1, width = plot.clientWidth, family = getComputedStyle(root).fontFamily;
    pen = canvasPen(context, family);
    const marks = shown?.state.ticks ?? [{ texts: {} }, { texts: {} }];
    box = layout(pen, width, size(), marks, setup.units);
    canvas.style.height = `${box.height}px`;
    const pixels = [Math.round(width * scale), Math.round(box.height * scale)];
    if (canvas.width !== pixels[0] || canvas.height !== pixels[1]) [canvas.width, canvas.height] = pixels;
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, box.height);
    if (shown) {
      const kept = base && base !== shown && planeKey(base.state) === planeKey(shown.state) ? [base, shown] : [shown];
      const colors = { ink: paint("ink"), muted: paint("muted"), grid: paint("grid"), surface: paint("surface") };
      scene = { layout: box, view, setup, state: shown.state, pictures: kept.map(imageFor), stops: stops(), ...colors };
      drawPlane(pen, scene);
      drawMarks(pen, scene, marksOf());
    }
    canvas.setAttribute("aria-label", `${shown?.state.alt ?? failed ?? setup.title} The arrow keys move through the cells, plus and minus zoom, Enter chooses a cell.`);
    sayStatus();
    sayNote();
    sayBubble();
    if (owed !== null && shown) {
      model.set("acked", owed);
      model.save_changes();
      owed = null;
    }
    request();
    if (tableOpen && tableKey !== viewKey()) fillLater();
  }

  const px = (column) => box.area.x + ((column - view[2]) / (view[3] - view[2])) * box.area.width;
  const py = (row) => box.area.y + ((row - view[0]) / (view[1] - view[0])) * box.area.height;

  const frameOf = (one) => {
    const [top, bottom, left, right] = cellWindow(one);
    return { x: px(left), y: py(top), right: px(right), bottom: py(bottom) };
  };

  function marksOf() {
    const boxes = [chosen?.row !== null && chosen?.column !== null ? chosen : null, cell].filter(Boolean).map(frameOf);
    const lines = chosen && {
      x: chosen.column === null ? null : px(chosen.column + 0.5), y: chosen.row === null ? null : py(chosen.row + 0.5),
      around: chosen.row === null || chosen.column === null ? null : frameOf(chosen),
    };
    return { boxes, lines };
  }

  // ---- one cell: where it is, what is in it

  function cellWindow({ row, column }) {
    const [tall, wide] = shown?.state.block ?? [1, 1];
    const top = Math.floor(row / tall) * tall, left = Math.floor(column / wide) * wide;
    return [top, Math.min(size()[0], top + tall), left, Math.min(size()[1], left + wide)];
  }

  const labelAt = (dim, place) => {
    const axis = setup.axes[dim];
    return axis.values ? axis.values[place] : axis.stride !== undefined ? axis.first + place * axis.stride : place;
  };

  function about({ row, column }) {
    if (!shown) return "";
    const { window: [top, , left], block, shape } = shown.state;
    const at = [Math.floor((row - top) / block[0]), Math.floor((column - left) / block[1])];
    if (at.some((one, k) => one < 0 || one >= shape[k])) return "";
    const code = shown.codes[at[0] * shape[1] + at[1]];
    return code ? `about ${rough(valueOf(code, shown.state))}` : "no value";
  }

  function words() {
    if (!cell) return null;
    const told = exactly && exactly.row === cell.row && exactly.column === cell.column ? exactly.told : null;
    const [top, bottom, left, right] = cellWindow(cell), name = (dim, from, to) =>
      `${setup.axes[dim].word.toLowerCase()} ${labelAt(dim, from)}${to - from > 1 ? ` to ${labelAt(dim, to - 1)}` : ""}`;
    const head = told?.head || `${name(asked.rows, top, bottom)}, ${name(asked.columns, left, right)}`;
    const units = setup.units && told?.value && told.value !== "no value" ? ` ${setup.units}` : "";
    return { head, value: told ? told.value + units : about(cell), more: told?.more ?? "" };
  }

  function question() {
    clearTimeout(timer);
    timer = setTimeout(async () => {
      if (!cell) return;
      const mine = { ...cell }, told = await source.cell({ ...asked, window: cellWindow(cell), block: shown?.state.block ?? [1, 1] });
      if (!told || !cell || cell.row !== mine.row || cell.column !== mine.column) return;
      exactly = { ...mine, told };
      sayStatus();
      sayBubble();
    }, STILL);
  }

  function point(row, column, by) {
    const before = cell;
    cell = { row, column, by };
    if (before?.row === row && before?.column === column && before.by === by) return;
    exactly = null;
    question();
    later();
  }

  function leave() {
    if (!cell) return;
    cell = exactly = null;
    clearTimeout(timer);
    later();
  }

  const say = (place, text) => place.textContent !== text && (place.textContent = text);

  function sayStatus() {
    const found = words();
    if (failed) say(status, failed);
    else if (pending && performance.now() - pending > 450) say(status, "Python is busy: the picture follows when it answers.");
    else if (found) say(status, `${found.head}: ${found.value}${found.more ? ` (${found.more})` : ""}`);
    else if (chosen && chosen.row !== null && chosen.column !== null)
      say(status, `Chosen: ${setup.axes[asked.rows].word.toLowerCase()} ${labelAt(asked.rows, chosen.row)}, ${setup.axes[asked.columns].word.toLowerCase()} ${labelAt(asked.columns, chosen.column)}`);
    else say(status, "Point at a cell for its value; click or press Enter to choose it.");
  }

  function sayNote() {
    if (!shown) return say(note, local?.says ?? "");
    const { block, how, sampled, coarse } = shown.state, cells = block[0] * block[1];
    const kind = Object.fromEntries(HOW)[how];
    const said = [cells > 1 ? `Each cell shows the ${kind} of ${block[0]} x ${block[1]} values` : "Each cell is one value"];
    if (sampled) said.push(`told from ${sampled[0]} of every ${sampled[1]} rows`);
    if (coarse) said.push("the single values of this plane are not in this page");
    const zoomed = view[1] - view[0] < size()[0] || view[3] - view[2] < size()[1];
    if (zoomed) said.push(`${Math.round(view[1] - view[0])} of ${size()[0]} rows and ${Math.round(view[3] - view[2])} of ${size()[1]} columns are visible`);
    say(note, `${said.join("; ")}.${local ? ` ${local.says}` : ""}`);
    controls.querySelector("[data-how]").hidden = cells === 1 || Boolean(coarse);
  }

  function sayBubble() {
    const found = cell?.by === "pointer" || document.activeElement === canvas || canvas.getRootNode().activeElement === canvas ? words() : null;
    bubble.hidden = !found || !box;
    if (bubble.hidden) return;
    const key = JSON.stringify(found);
    if (made !== key) {
      made = key;
      bubble.replaceChildren(Object.assign(document.createElement("b"), { textContent: found.value }), found.head, ...(found.more ? [element("small", "more", bubble, {}, found.more)] : []));
    }
    const x = px(cell.column + 0.5), right = x < box.area.x + box.area.width / 2;
    Object.assign(bubble.style, { left: right ? `${x + 16}px` : "auto", right: right ? "auto" : `${plot.clientWidth - x + 16}px` });
    bubble.style.top = `${Math.max(0, Math.min(box.height - 60, py(cell.row + 0.5) - 20))}px`;
  }

  // ---- the pointer and the keys

  function under(event) {
    const frameBox = canvas.getBoundingClientRect(), x = event.clientX - frameBox.left, y = event.clientY - frameBox.top;
    if (!box || !shown || x < box.area.x || y < box.area.y || x >= box.area.x + box.area.width || y >= box.area.y + box.area.height) return null;
    const row = view[0] + ((y - box.area.y) / box.area.height) * (view[1] - view[0]);
    return { row, column: view[2] + ((x - box.area.x) / box.area.width) * (view[3] - view[2]) };
  }

  function hover(event) {
    if (drag) {
      const [x, y] = [event.clientX - drag.x, event.clientY - drag.y];
      if (!drag.moved && Math.hypot(x, y) < 4) return;
      drag.moved = true;
      const down = (y / box.area.height) * (drag.view[1] - drag.view[0]), across = (x / box.area.width) * (drag.view[3] - drag.view[2]);
      look([drag.view[0] - down, drag.view[1] - down, drag.view[2] - across, drag.view[3] - across]);
      return;
    }
    const at = under(event);
    canvas.style.cursor = at ? "crosshair" : "default";
    if (at) point(Math.floor(at.row), Math.floor(at.column), "pointer");
    else if (cell?.by === "pointer") leave();
  }

  function press(event) {
    if (event.button === 0 && under(event)) drag = { x: event.clientX, y: event.clientY, view: view.slice(), moved: false };
    if (drag) canvas.setPointerCapture?.(event.pointerId);
  }

  function release(event) {
    const ended = drag;
    drag = null;
    const at = under(event);
    if (ended && !ended.moved && at) choose(Math.floor(at.row), Math.floor(at.column));
  }

  // The wheel zooms when the picture has the focus, or with Ctrl; else the page scrolls.
  function wheel(event) {
    const at = under(event), focused = canvas.getRootNode().activeElement === canvas;
    if (!at || !(focused || event.ctrlKey || event.metaKey)) return;
    const whole = view[1] - view[0] >= size()[0] && view[3] - view[2] >= size()[1];
    if (event.deltaY > 0 && whole) return;
    event.preventDefault();
    zoom(Math.exp(Math.sign(event.deltaY) * Math.min(0.5, Math.abs(event.deltaY) / 300)), at.row, at.column);
  }

  function key(event) {
    if (!setup || event.altKey) return;
    const [tall, wide] = shown?.state.block ?? [1, 1], far = event.shiftKey ? 10 : 1, all = event.ctrlKey || event.metaKey;
    const start = cell ?? (chosen && chosen.row !== null && chosen.column !== null ? chosen : null);
    const at = start ?? { row: Math.floor((view[0] + view[1]) / 2), column: Math.floor((view[2] + view[3]) / 2) };
    const page = Math.max(1, Math.round((view[1] - view[0]) / 2));
    const steps = {
      ArrowLeft: [0, -wide * far], ArrowRight: [0, wide * far], ArrowUp: [-tall * far, 0], ArrowDown: [tall * far, 0],
      Home: [all ? -Infinity : 0, -Infinity], End: [all ? Infinity : 0, Infinity], PageUp: [-page, 0], PageDown: [page, 0],
    };
    const acts = {
      "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), _: () => zoom(2), 0: () => look([0, size()[0], 0, size()[1]]),
      Enter: () => start && choose(at.row, at.column), " ": () => start && choose(at.row, at.column), Escape: () => (cell ? leave() : unchoose()),
    };
    if (steps[event.key]) {
      const [down, across] = start || !event.key.startsWith("Arrow") ? steps[event.key] : [0, 0]; // the first arrow shows where one is
      const inside = (place, most) => Math.min(most - 1, Math.max(0, place));
      const row = inside(at.row + down, size()[0]), column = inside(at.column + across, size()[1]);
      uncover(row, column);
      point(row, column, "keys");
    } else if (acts[event.key] && !(all && event.key !== "Enter")) acts[event.key]();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  // Move the window so that a cell is in it.
  function uncover(row, column) {
    const wanted = uncovered(view, row, column);
    if (wanted) look(wanted);
  }

  // ---- choosing, and the cursor that pictures share

  const axisOf = (dim) => setup.cursor?.[dim] ?? dim;

  function entriesOf(places) {
    const known = Object.entries(places).filter(([dim]) => setup.axes[dim].values || setup.axes[dim].stride !== undefined);
    return Object.fromEntries(known.map(([dim, place]) => [axisOf(dim), labelAt(dim, place)]));
  }

  function choose(row, column) {
    chosen = { row, column };
    cursor.move(entriesOf({ ...asked.index, [asked.rows]: row, [asked.columns]: column }));
    const place = { ...asked, window: [row, row + 1, column, column + 1], block: [1, 1] };
    model.set("chosen", JSON.stringify({ ...place, count: ++count }));
    model.save_changes();
    later();
  }

  function unchoose() {
    if (!chosen) return;
    const gone = Object.fromEntries([asked.rows, asked.columns].map((dim) => [axisOf(dim), null]));
    chosen = null;
    cursor.move(gone);
    later();
  }

  function placeOn(dim, entry) {
    const axis = setup.axes[dim];
    if (entry === undefined || entry === null) return null;
    const place = axis.values ? placeOf(axis.values, entry) : axis.stride === undefined ? -1 : Math.round((Number(entry) - axis.first) / (axis.stride || 1));
    return Number.isInteger(place) && place >= 0 && place < axis.size ? place : null;
  }

  function follow(places) {
    if (!setup) return;
    for (const dim of Object.keys(asked.index)) {
      const place = placeOn(dim, places[axisOf(dim)]);
      if (place !== null) turn(dim, place);
    }
    const row = placeOn(asked.rows, places[axisOf(asked.rows)]), column = placeOn(asked.columns, places[axisOf(asked.columns)]);
    const before = JSON.stringify(chosen);
    chosen = row === null && column === null ? null : { row, column };
    if (before === JSON.stringify(chosen)) return;
    if (chosen) uncover(row, column);
    later();
  }

  // ---- numbers and files

  const viewKey = () => JSON.stringify([visible(), root.dataset.dark]);
  function fillLater() {
    tableKey = viewKey();
    clearTimeout(tableTimer);
    tableTimer = setTimeout(fillTable, 250);
  }

  async function toggleTable() {
    tableOpen = !tableOpen;
    below.hidden = !tableOpen;
    tableKey = viewKey();
    if (tableOpen) await fillTable();
  }

  async function fillTable() {
    const found = shown && (await source.numbers(visible()));
    if (!found?.rows) return;
    const name = (dim) => setup.axes[dim].word;
    below.replaceChildren(numberTable(found, shown.state.alt, `${name(asked.rows)} \\ ${name(asked.columns)}`));
  }

  async function saveCsv() {
    const found = shown && (await source.numbers(visible()));
    if (found?.rows) saveFile(fileName(setup.title, "csv"), numberFile(found, asked.rows, asked.columns), "text/csv");
  }

  const savePng = () => shown && bare(() => canvas.toBlob((blob) => saveFile(fileName(setup.title, "png"), blob, "image/png")));

  // The picture on its own surface: a canvas is see-through where nothing is drawn.
  function bare(then) {
    context.globalCompositeOperation = "destination-over";
    context.fillStyle = paint("surface");
    context.fillRect(0, 0, plot.clientWidth, box.height);
    context.globalCompositeOperation = "source-over";
    then();
    later();
  }

  function saveSvg() {
    if (!shown) return;
    const family = getComputedStyle(root).fontFamily, out = svgPen(plot.clientWidth, box.height, family, pen.measure);
    drawPlane(out, scene);
    saveFile(fileName(setup.title, "svg"), out.finish(shown.state.alt, scene.surface), "image/svg+xml");
  }

  canvas.addEventListener("pointermove", hover);
  canvas.addEventListener("pointerdown", press);
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", () => (drag = null));
  canvas.addEventListener("pointerleave", () => cell?.by === "pointer" && leave());
  canvas.addEventListener("blur", leave);
  canvas.addEventListener("wheel", wheel, { passive: false });
  canvas.addEventListener("keydown", key);
  model.on("change:seq", arrive);
  model.on("change:setup", begin);
  const observer = new ResizeObserver(() => later());
  observer.observe(plot);
  const seen = () => later();
  document.addEventListener("visibilitychange", seen);
  const forget = watchTheme(seen);
  begin();
  return () => {
    model.off("change:seq", arrive);
    model.off("change:setup", begin);
    remote?.forget();
    cursor.forget();
    clearTimeout(timer);
    cancelAnimationFrame(frame);
    observer.disconnect();
    document.removeEventListener("visibilitychange", seen);
    forget();
  };
}

export default { render };
