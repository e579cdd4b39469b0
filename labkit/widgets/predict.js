// A curve that a person draws before it is known, and what happened over it. Only model.get, set, save_changes, on and
// off: the same module runs in a notebook, in Panel and in an exported page. `state` and `drawn` are JSON text.
const HEIGHT = 300;

function part(tag, name, parent, attributes = {}) {
  const element = document.createElement(tag);
  element.className = `labkit-guess-${name}`;
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  parent.append(element);
  return element;
}

function render({ model, el }) {
  const root = part("div", "root", el, { role: "group" });
  const title = part("div", "title", root);
  const plot = part("div", "plot", root);
  // JupyterLab must not take the arrow keys for itself while the picture has the focus
  const canvas = part("canvas", "canvas", plot, { tabindex: 0, role: "application", "data-lm-suppress-shortcuts": "true" });
  const tools = part("div", "tools", root, { role: "toolbar", "aria-label": "Your guess" });
  const lock = part("button", "lock", tools, { type: "button" });
  const wiper = part("button", "tool", tools, { type: "button", "aria-pressed": "false" });
  const over = part("button", "tool", tools, { type: "button" });
  const hint = part("span", "hint", tools);
  const names = part("div", "legend", root);
  const spoken = part("div", "spoken", root, { role: "status", "aria-live": "polite" });
  const says = part("div", "says", root, { role: "status" });
  const context = canvas.getContext("2d");
  wiper.textContent = "Eraser";
  over.textContent = "Start over";
  let state = JSON.parse(model.get("state") || "{}"), guess = null, box = null, at = null, stroke = null, frame = null;

  const locked = () => model.get("locked");
  const truth = () => state.truth ?? null;

  function arrive() {
    state = JSON.parse(model.get("state") || "{}");
    later();
  }

  function redrawn() {
    if (!stroke) guess = guessOf(JSON.parse(model.get("drawn")), state.y, later);
    later();
  }

  function later() {
    frame ??= requestAnimationFrame(show);
  }

  function show() {
    cancelAnimationFrame(frame);
    frame = null;
    if (!plot.clientWidth || document.hidden) return; // what nobody can see is neither drawn nor acknowledged
    draw();
    words();
    if (model.get("acked") !== model.get("seq")) {
      model.set("acked", model.get("seq"));
      model.save_changes();
    }
  }

  function boxOf(width) {
    const { x, y } = state;
    const across = ticks(x.low, x.high, Math.max(2, width / 110)), down = ticks(y.low, y.high, 5);
    const labels = down.places.map((place) => spell(place, down.digits));
    const room = Math.ceil(Math.max(...labels.map((text) => context.measureText(text).width), 20)) + 12;
    const area = { x: room, y: 30, width: width - room - 18, height: HEIGHT - 76 };
    const px = (value) => area.x + ((value - x.low) / (x.high - x.low)) * area.width;
    const py = (value) => area.y + (1 - (value - y.low) / (y.high - y.low)) * area.height;
    return { area, across, down, labels, px, py };
  }

  const placeOfColumn = (column) => state.x.low + (column / (guess.values.length - 1)) * (state.x.high - state.x.low);

  function draw() {
    root.dataset.dark = isDark(root.parentElement);
    const scale = window.devicePixelRatio || 1, width = plot.clientWidth;
    canvas.style.height = `${HEIGHT}px`;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(HEIGHT * scale);
    context.setTransform(scale, 0, 0, scale, 0, 0);
    const style = getComputedStyle(root), paint = (name) => style.getPropertyValue(`--${name}`).trim();
    context.font = `13px ${style.fontFamily}`;
    box = boxOf(width);
    drawAxes(context, box, { x: state.x.name, y: state.y.name }, paint);
    const line = lineOf(guess.values), known = truth();
    if (!line.count && !known) {
      Object.assign(context, { fillStyle: paint("muted"), textAlign: "center" });
      context.fillText("Draw the curve that you expect: drag here, or use the arrow keys.", box.area.x + box.area.width / 2, box.area.y + box.area.height / 2);
    }
    if (known && line.count) between(known, line, paint);
    if (known) {
      const seen = { xs: known.x, ys: known.y, lows: known.low, highs: known.high, count: known.x.length };
      if (known.low) drawBand(context, box, seen, paint("truth"));
      drawLine(context, box, seen, paint("truth"), 2.5, 1);
      drawDot(context, box, seen, seen.count - 1, 3.5, paint("truth"), paint("surface"));
    }
    drawLine(context, box, { ...line, dash: "dash" }, paint("guess"), 3, 1);
    if (at !== null) {
      const x = placeOfColumn(at), value = guess.values[at];
      drawUpright(context, box, box.px(x), paint("muted"), 1);
      if (value !== null) drawDot(context, box, { xs: [x], ys: [value] }, 0, 6, paint("guess"), paint("surface"));
    }
  }

  const lineOf = (values) => {
    const there = values.map((value, column) => [placeOfColumn(column), value]).filter(([, value]) => value !== null);
    return { xs: there.map(([x]) => x), ys: there.map(([, value]) => value), count: there.length };
  };

  // The value of a line at x, level beyond its ends.
  function valueAt(xs, ys, x) {
    if (x <= xs[0]) return ys[0];
    const right = xs.findIndex((one) => one >= x);
    if (right < 0) return ys[ys.length - 1];
    return ys[right - 1] + ((x - xs[right - 1]) / (xs[right] - xs[right - 1] || 1)) * (ys[right] - ys[right - 1]);
  }

  // The area between guess and truth, in one colour where the guess is too high and in another where it is too low.
  function between(known, line, paint) {
    const left = Math.max(state.x.low, known.x[0]), right = Math.min(state.x.high, known.x[known.x.length - 1]), count = 240;
    inside(context, box, () => {
      context.globalAlpha = 0.25;
      const rows = Array.from({ length: count + 1 }, (_, one) => {
        const x = left + (one / count) * (right - left);
        return { x, guessed: valueAt(line.xs, line.ys, x), happened: valueAt(known.x, known.y, x) };
      });
      for (let from = 0; from < count; ) {
        const high = rows[from].guessed > rows[from].happened;
        let to = from + 1;
        while (to < count && rows[to].guessed > rows[to].happened === high) to++;
        context.fillStyle = paint(high ? "high" : "low");
        context.beginPath();
        for (let one = from; one <= to; one++) context.lineTo(box.px(rows[one].x), box.py(rows[one].guessed));
        for (let one = to; one >= from; one--) context.lineTo(box.px(rows[one].x), box.py(rows[one].happened));
        context.fill();
        from = to;
      }
    });
  }

  function words() {
    title.textContent = state.question ?? "";
    root.setAttribute("aria-label", state.question || "A guess");
    const done = locked();
    lock.disabled = done || guess.count() < 2;
    lock.textContent = done ? "✓ Locked" : "Lock my guess";
    wiper.hidden = done;
    over.hidden = done && Boolean(truth());
    over.textContent = done ? "Change it" : "Start over";
    over.disabled = !done && !guess.count();
    hint.textContent = done ? (truth() ? "" : "Now run the next cell.") : guess.count() < 2 ? "" : "Draw over it as often as you like.";
    canvas.dataset.locked = done;
    const told = `${state.y.name} from ${exact(state.y.low)} to ${exact(state.y.high)} against ${state.x.name} from ${exact(state.x.low)} to ${exact(state.x.high)}`;
    const how = done ? "The guess is locked." : "Left and right go along, up and down move the guess there, Delete takes it away.";
    canvas.setAttribute("aria-label", `${state.question}: ${told}. ${guess.count() ? "" : "Nothing is drawn yet. "}${how}`);
    const entries = [["guess", "your guess"], ...(truth() ? [["truth", truth().low ? "what happened, mean and range of the seeds" : "what happened"], ["high", "too high"], ["low", "too low"]] : [])];
    const key = JSON.stringify(entries);
    if (names.dataset.key !== key) {
      names.dataset.key = key;
      names.replaceChildren();
      for (const [ink, text] of entries) {
        const entry = part("span", "entry", names);
        part("i", `chip ${ink}`, entry);
        entry.append(text);
      }
    }
    if (says.textContent !== (state.says ?? "")) says.textContent = state.says ?? "";
    spoken.textContent = at === null ? "" : reading();
  }

  function reading() {
    const value = guess.values[at], digits = box ? box.down.digits + 2 : 2, known = truth();
    const happened = known ? `; what happened: ${spell(valueAt(known.x, known.y, placeOfColumn(at)), digits)}` : "";
    return `${state.x.name} ${exact(placeOfColumn(at))}: ${value === null ? "not drawn" : `your guess is ${spell(value, digits)}`}${happened}`;
  }

  function pointOf(event) {
    const frame = canvas.getBoundingClientRect(), { area } = box;
    const share = (event.clientX - frame.left - area.x) / area.width;
    const value = state.y.low + (1 - (event.clientY - frame.top - area.y) / area.height) * (state.y.high - state.y.low);
    return { at: Math.min(1, Math.max(0, share)) * (guess.values.length - 1), value };
  }

  function keep() {
    model.set("drawn", JSON.stringify(guess.values));
    model.save_changes();
  }

  function down(event) {
    if (locked() || !box || event.button > 0) return;
    canvas.setPointerCapture(event.pointerId);
    stroke = pointOf(event);
    at = null;
    guess.stroke(stroke, stroke, wiping());
  }

  const wiping = () => wiper.getAttribute("aria-pressed") === "true";

  function move(event) {
    if (!stroke) return;
    const to = pointOf(event);
    guess.stroke(stroke, to, wiping());
    stroke = to;
  }

  function up() {
    if (!stroke) return;
    stroke = null;
    keep();
  }

  function press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && at !== null) at = null;
    else {
      const moved = ["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key);
      if (locked() && !moved) return;
      const to = at === null && moved ? 0 : guess.press(event.key, event.shiftKey, at ?? 0);
      if (to === null) return;
      at = to;
      if (!moved) keep();
    }
    event.preventDefault();
    event.stopPropagation();
    later();
  }

  function lockIt() {
    model.set("locked", true);
    model.save_changes();
    later();
  }

  function startOver() {
    if (locked()) model.set("locked", false);
    else model.set("drawn", JSON.stringify(guess.values.map(() => null)));
    model.save_changes();
    redrawn();
  }

  lock.addEventListener("click", lockIt);
  over.addEventListener("click", startOver);
  wiper.addEventListener("click", () => wiper.setAttribute("aria-pressed", String(!wiping())));
  canvas.addEventListener("pointerdown", down);
  canvas.addEventListener("pointermove", move);
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", up);
  canvas.addEventListener("keydown", press);
  canvas.addEventListener("blur", () => {
    at = null;
    later();
  });
  const heard = { "change:state": arrive, "change:seq": arrive, "change:drawn": redrawn, "change:locked": later };
  for (const [event, call] of Object.entries(heard)) model.on(event, call);
  const observer = new ResizeObserver(later);
  observer.observe(plot);
  document.addEventListener("visibilitychange", later);
  const forget = watchTheme(later);
  redrawn();
  return () => {
    for (const [event, call] of Object.entries(heard)) model.off(event, call);
    cancelAnimationFrame(frame);
    observer.disconnect();
    document.removeEventListener("visibilitychange", later);
    forget();
  };
}

export default { render };
