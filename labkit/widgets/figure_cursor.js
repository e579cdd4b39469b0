// The shared cursor on a plotly figure: thin lines over the picture, which is not drawn again. The figure says in
// `layout.meta.axes` which axis of the data lies on which of its own ({x: "step", y: "layer"}); `places` beside it may
// hold the entries of a category axis where its texts are not the entries themselves.
const LINES = "http://www.w3.org/2000/svg";
const TOUCH = 4;

function figureCursor({ model, stage, say, plotly }) {
  const overlay = document.createElementNS(LINES, "svg");
  overlay.setAttribute("class", "labkit-figure-cursor");
  overlay.setAttribute("aria-hidden", "true");
  stage.append(overlay);
  let box = null, following = 0, down = null;
  const linked = () => Boolean(model.get("linked"));
  const meta = () => box?.layout?.meta ?? {};
  const named = () => (linked() && meta().axes) || {};
  const cursor = cursorOf(model, () => {
    draw();
    frame();
  });

  // Axes of the picture that carry an axis of the data: [{letter, axis, name}], also panels that share their axis.
  function carriers() {
    const full = box?._fullLayout, names = named(), found = [];
    for (const [subplot, { xaxis, yaxis }] of Object.entries(full?._plots ?? {})) {
      const pair = { subplot, xaxis, yaxis };
      for (const [letter, axis] of [["x", xaxis], ["y", yaxis]]) {
        const name = names[axis._id] ?? (shared(axis, full[`${letter}axis`]) ? names[letter] : undefined);
        if (name) found.push({ letter, axis, name, ...pair });
      }
    }
    return found;
  }

  function shared(axis, first) {
    if (!first || axis === first || axis.matches === first._id) return true;
    if (axis.type !== first.type) return false;
    if (axis.type === "category") return String(axis._categories) === String(first._categories);
    return String(axis.domain) === String(first.domain) && String(axis.range) === String(first.range);
  }

  // The data's entries along an axis, sorted as they lie, each with its place in the axis' own linear units.
  function entriesOn({ letter, axis, subplot }) {
    const own = meta().places?.[axis._id] ?? meta().places?.[letter];
    if (axis.type === "category") return axis._categories.map((text, at) => ({ entry: own?.[at] ?? entryOf(plainText(text)), at }));
    const seen = new Set();
    for (const trace of box._fullData) {
      if (trace.visible !== true || `${trace.xaxis ?? "x"}${trace.yaxis ?? "y"}` !== subplot) continue;
      const values = trace[letter];
      if (values?.length) for (const value of values) seen.add(value);
      else if (letter === "x" && trace.z?.length) for (let at = 0; at < trace.z[0].length; at++) seen.add(at);
      else if (letter === "y" && trace.z?.length) for (let at = 0; at < trace.z.length; at++) seen.add(at);
    }
    return [...seen].filter((one) => typeof one === "number" && Number.isFinite(one)).sort((a, b) => a - b)
      .map((entry) => ({ entry, at: axis.d2l(entry) })).filter(({ at }) => Number.isFinite(at));
  }

  const plainText = (text) => (typeof text === "string" ? text.replace(/&lt;/g, "<").replace(/&gt;/g, ">").replace(/&amp;/g, "&") : text);

  // Where an entry lies, in pixels along its axis; null where it is not on the axis or out of sight.
  function pixelOf(carrier) {
    const wanted = cursor.places[carrier.name];
    if (wanted === undefined || wanted === null) return null;
    const { axis } = carrier, entries = entriesOn(carrier);
    let at = null;
    if (axis.type === "category") {
      const place = placeOf(entries.map(({ entry }) => entry), wanted);
      if (place >= 0) at = entries[place].at;
    } else if (Number.isFinite(Number(wanted))) at = axis.d2l(Number(wanted));
    if (at === null || !Number.isFinite(at)) return null;
    const pixel = axis.l2p(at), cells = box._fullData.some((trace) => trace.type === "heatmap" || trace.type === "bar");
    const wide = cells && entries.length > 1 ? Math.abs(axis.l2p(entries[1].at) - axis.l2p(entries[0].at)) : 0;
    return pixel < -1 || pixel > axis._length + 1 ? null : { pixel, half: wide > 9 ? wide / 2 : 0 };
  }

  function draw() {
    overlay.replaceChildren();
    if (!box?._fullLayout || !linked()) return;
    const panels = new Map();
    for (const carrier of carriers()) {
      const found = pixelOf(carrier);
      if (!found) continue;
      const panel = panels.get(carrier.subplot) ?? { xaxis: carrier.xaxis, yaxis: carrier.yaxis };
      panels.set(carrier.subplot, { ...panel, [carrier.letter]: found });
    }
    const ink = box._fullLayout.font.color, surface = box._fullLayout.paper_bgcolor;
    for (const { xaxis, yaxis, x, y } of panels.values()) {
      const left = xaxis._offset, top = yaxis._offset, right = left + xaxis._length, bottom = top + yaxis._length;
      const at = { x: x && left + x.pixel, y: y && top + y.pixel };
      const cell = x?.half && y?.half ? { x: at.x - x.half, y: at.y - y.half, width: 2 * x.half, height: 2 * y.half } : null;
      const lines = [];
      if (x && cell) lines.push([at.x, top, at.x, cell.y], [at.x, cell.y + cell.height, at.x, bottom]);
      else if (x) lines.push([at.x, top, at.x, bottom]);
      if (y && cell) lines.push([left, at.y, cell.x, at.y], [cell.x + cell.width, at.y, right, at.y]);
      else if (y) lines.push([left, at.y, right, at.y]);
      for (const [color, width] of [[surface, 3], [ink, 1.25]]) {
        for (const [x1, y1, x2, y2] of lines) if (x1 <= x2 && y1 <= y2) put("line", { x1, y1, x2, y2, stroke: color, "stroke-width": width });
        if (cell) put("rect", { ...cell, fill: "none", stroke: color, "stroke-width": width + 0.75 });
      }
    }
  }

  function put(kind, attributes) {
    const made = document.createElementNS(LINES, kind);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    overlay.append(made);
  }

  // ---- the slider of the frames: which axis it goes along, and its entries

  function frames() {
    const slider = box?._fullLayout?.sliders?.[0];
    if (!linked() || !slider?.steps?.length || slider.steps[0].method !== "animate") return null;
    const name = meta().axes?.slider ?? slider.currentvalue?.prefix?.trim() ?? "";
    const names = slider.steps.map((step) => String(step.args?.[0]?.[0]));
    return name && { name, names, active: slider.active, entries: slider.steps.map((step) => entryOf(step.label)) };
  }

  async function frame() {
    const found = frames(), wanted = found && cursor.places[found.name];
    if (wanted === undefined || wanted === null) return;
    const place = placeOf(found.entries, wanted);
    if (place < 0 || place === found.active) return;
    following++;
    try {
      const now = { duration: 0 };
      await plotly().animate(box, [found.names[place]], { mode: "immediate", frame: { ...now, redraw: true }, transition: now });
      // after a redraw plotly believes that its slider stands here already
      if (frames()?.active !== place) await plotly().relayout(box, { "sliders[0].active": place });
    } catch (error) {
      if (error) console.error("labkit: the step could not be shown", error); // without one, a newer step took its place
    } finally {
      following--;
    }
  }

  function animated({ name }) {
    const found = frames(), place = found ? found.names.indexOf(String(name)) : -1;
    if (place >= 0 && !following) cursor.move({ [found.name]: found.entries[place] });
  }

  // ---- the pointer and the keys

  const inside = (event) => {
    const frameBox = stage.getBoundingClientRect(), x = event.clientX - frameBox.left, y = event.clientY - frameBox.top;
    return (carrier) => {
      const { xaxis, yaxis } = carrier, across = x - xaxis._offset, up = y - yaxis._offset;
      if (across < 0 || across > xaxis._length || up < 0 || up > yaxis._length) return null;
      return carrier.letter === "x" ? across : up;
    };
  };

  function press(event) {
    down = event.button === 0 && !event.target.closest?.(".modebar") ? { x: event.clientX, y: event.clientY } : null;
  }

  function release(event) {
    const click = down && Math.hypot(event.clientX - down.x, event.clientY - down.y) < TOUCH;
    down = null;
    if (!click || !box?._fullLayout || !linked()) return;
    const places = {}, pixel = inside(event);
    for (const carrier of carriers()) {
      const along = pixel(carrier), entries = along === null ? [] : entriesOn(carrier);
      if (!entries.length) continue;
      const at = carrier.axis.p2l(along);
      places[carrier.name] = entries.reduce((best, one) => (Math.abs(one.at - at) < Math.abs(best.at - at) ? one : best)).entry;
    }
    move(places);
  }

  function move(places) {
    if (!Object.keys(places).length) return;
    cursor.move(places);
    say(Object.entries(places).map(([name, entry]) => `${name.replace(/_/g, " ")} ${entry}`).join(", "));
  }

  function key(event) {
    const every = carriers(), along = { x: every.find(({ letter }) => letter === "x"), y: every.find(({ letter }) => letter === "y") };
    const scrubbed = frames();
    const moves = { ArrowLeft: ["x", -1], ArrowRight: ["x", 1], Home: ["x", -Infinity], End: ["x", Infinity], ArrowUp: ["y", -1], ArrowDown: ["y", 1] };
    if (event.altKey || event.ctrlKey || event.metaKey || event.target !== box) return;
    if (event.key === "Escape") cursor.move(Object.fromEntries(every.map(({ name }) => [name, null])));
    else {
      const [letter, step] = moves[event.key] ?? [];
      const carrier = letter && along[letter];
      const list = carrier ? entriesOn(carrier).map(({ entry }) => entry) : letter === "x" && scrubbed ? scrubbed.entries : [];
      if (!list.length) return;
      const name = carrier?.name ?? scrubbed.name, wanted = cursor.places[name] ?? (carrier ? null : list[scrubbed.active]);
      const here = wanted === null || wanted === undefined ? -1 : placeOf(list, wanted);
      // up is up: on a picture whose axis does not run downwards, the entries lie the other way round
      const turned = letter === "y" && carrier.axis.l2p(1) < carrier.axis.l2p(0) ? -1 : 1;
      const next = here < 0 ? (step === Infinity ? list.length - 1 : 0) : here + turned * step;
      move({ [name]: list[Math.min(list.length - 1, Math.max(0, next))] });
    }
    event.preventDefault();
    event.stopPropagation();
  }

  stage.addEventListener("pointerdown", press, true);
  window.addEventListener("pointerup", release, true);
  stage.addEventListener("keydown", key);
  return {
    // Called with the element that plotly draws into, once it has drawn.
    watch(element) {
      if (box !== element) {
        box = element;
        box.on("plotly_afterplot", draw);
        box.on("plotly_relayouting", draw);
        box.on("plotly_animatingframe", animated);
      }
      const usable = linked() && (Object.keys(named()).length || frames());
      if (usable) {
        box.tabIndex = 0;
        box.dataset.lmSuppressShortcuts = "true"; // else JupyterLab takes the arrow keys
      } else box.removeAttribute("tabindex");
      draw();
      frame();
    },
    forget() {
      window.removeEventListener("pointerup", release, true);
      cursor.forget();
    },
  };
}
