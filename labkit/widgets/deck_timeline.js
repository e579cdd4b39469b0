// The timeline: a lane for each branch, forks, kept steps as ticks, events as marks, the head, and a handle to look back.
const LANE = 34, SCALE = 24, REACH = 9;
function timelineOf(parent, orders, say) {
  const root = make("div", "time", parent, { role: "group", "aria-label": "Timeline" });
  const lanes = make("div", "lanes", root);
  const plot = make("div", "plot", lanes);
  const strip = draw("svg", plot, { class: "labkit-deck-strip", "aria-hidden": "true" });
  const hand = make("div", "hand", plot, { role: "slider", tabindex: 0, "aria-label": "The step that the pictures show", "aria-valuemin": 0 });
  make("span", "grip", hand);
  const bubble = make("div", "bubble", plot, { "aria-hidden": "true", hidden: "" });
  const actions = make("div", "actions", root);
  const live = button("live", actions, "Live", () => look(null), { picture: "live", says: "Let the pictures follow the training again (key l)" });
  const fork = button("fork", actions, "Branch here", () => branch(), { picture: "branch", says: "Begin a second future at this step; the training stands there, paused (key b)" });
  const where = make("span", "where", actions, { role: "status" });
  const list = make("details", "events", root);
  const summary = make("summary", "summary", list);
  const entries = make("ol", "list", list);
  let plan = {}, status = {}, sides = [], own, owned = 0, box = null, stops = [], marks = [], shape = "", listed = "", held = false;
  const send = paced((step) => view(step));

  const head = () => status.step ?? 0;
  const ends = () => (plan.branches ?? []).map((one) => (one.name === status.branch ? Math.max(one.start, head()) : one.last));
  const viewing = () => (own !== undefined ? own : status.viewing ?? null);
  const named = (name) => (plan.branches ?? []).findIndex((one) => one.name === name);

  // The lane on which a step of the current branch lies: its own, or that of the branch it comes from.
  function laneOf(step, name = status.branch) {
    let at = Math.max(0, named(name));
    for (let turn = 0; turn < 100; turn++) {
      const one = plan.branches?.[at];
      if (!one || one.parent === null || step >= one.start) break;
      const up = named(one.parent);
      if (up < 0) break;
      at = up;
    }
    return at;
  }

  // The branches that the current one comes from, and the step at which it left each.
  function lineage() {
    const found = {};
    let one = plan.branches?.[named(status.branch)];
    for (let turn = 0; one && one.parent !== null && turn < 100; turn++) {
      found[one.parent] = one.start;
      one = plan.branches[named(one.parent)];
    }
    return found;
  }

  // All kept steps that lie behind the head, on the current branch and on those that it comes from.
  function behind() {
    const found = new Set();
    for (const [name, steps] of Object.entries(plan.kept ?? {})) {
      for (const step of steps) if (plan.branches?.[laneOf(step)]?.name === name) found.add(step);
    }
    return [...found].sort((a, b) => a - b);
  }

  // The whole run where its length is known, but never so much that what there is becomes a speck.
  function reach() {
    const last = Math.max(1, ...ends());
    let end = status.steps ?? 0;
    if (!(end >= last)) {
      end = 20;
      while (end < last * 1.05) end *= 2;
      return end;
    }
    while (end / 2 >= last * 1.25 && end > 40) end = Math.ceil(end / 2);
    return end;
  }

  async function view(step) {
    const answer = await orders.ask({ do: "view", step });
    if (answer.replaced) return;
    if (answer.refused) say(answer.refused);
    owned = performance.now();
    if (answer.refused) own = undefined;
    paint();
  }

  function look(step, last = true) {
    if (plan.live === false) return;
    own = step;
    owned = 0;
    send(step, last);
    paint();
  }

  async function branch() {
    say((await waitingFor(fork, orders.ask({ do: "branch", step: viewing() }))).refused);
  }

  function show(newPlan, newStatus) {
    [plan, status] = [newPlan, newStatus];
    if (own !== undefined && !held && owned && ((status.viewing ?? null) === own || performance.now() - owned > 1500)) own = undefined;
    paint();
  }

  function paint() {
    const branches = plan.branches ?? [], width = plot.clientWidth, possible = plan.live !== false;
    root.hidden = !branches.length;
    if (root.hidden || !width) return;
    const end = reach(), last = ends(), height = branches.length * LANE + SCALE;
    stops = behind();
    box = { left: 10, width: width - 26, end };
    const key = JSON.stringify([branches.map((one) => [one.name, one.parent, one.start]), last.filter((_, at) => branches[at].name !== status.branch), plan.kept, plan.events, width, end, status.branch, status.steps, possible]);
    if (key !== shape) {
      shape = key;
      rebuild(branches, last, height, width, end);
    }
    const at = named(status.branch), now = strip.querySelector(".labkit-deck-now"), done = strip.querySelector(".labkit-deck-done");
    if (at >= 0 && now) {
      now.setAttribute("transform", `translate(${px(head())} ${middle(at)})`);
      done.setAttribute("x2", px(head()));
    }
    const step = viewing(), shown = step ?? head(), lane = laneOf(shown);
    hand.style.transform = `translateX(${px(shown)}px)`;
    hand.style.setProperty("--lane", `${middle(lane)}px`);
    hand.dataset.live = step === null;
    hand.setAttribute("aria-valuemax", Math.round(head()));
    hand.setAttribute("aria-valuenow", Math.round(shown));
    const near = marks.filter((one) => one.event.step === shown).map((one) => one.event.says).join(" ");
    hand.setAttribute("aria-valuetext", step === null ? `live, step ${whole(shown)}` : `step ${whole(shown)}. ${near}`.trim());
    hand.hidden = !possible;
    live.hidden = step === null;
    fork.hidden = !possible;
    enable(fork, possible && !ENDED.includes(status.state) && status.state !== "queued");
    put(where, step === null ? "" : `The pictures show step ${whole(shown)}.`);
  }

  const px = (step) => box.left + (step / box.end) * box.width;
  const middle = (at) => at * LANE + LANE / 2 + 3;

  function rebuild(branches, last, height, width, end) {
    strip.replaceChildren();
    strip.setAttribute("viewBox", `0 0 ${width} ${height}`);
    strip.style.height = plot.style.height = `${height}px`;
    plot.style.gridRow = `1 / span ${branches.length + 1}`;
    const leaves = lineage();
    branches.forEach((one, at) => {
      const current = one.name === status.branch, y = middle(at), kind = current ? "current" : "other";
      if (current) draw("line", strip, { class: "labkit-deck-future", x1: px(one.start), x2: px(end), y1: y, y2: y });
      const up = named(one.parent);
      if (up >= 0) {
        const x = px(one.start), from = middle(up), turn = Math.min(12, Math.max(2, px(last[at]) - x));
        draw("path", strip, { class: `labkit-deck-fork labkit-deck-${kind}`, d: `M${x} ${from}V${y - 8}Q${x} ${y} ${x + Math.min(8, turn)} ${y}`, fill: "none" });
        draw("circle", strip, { class: "labkit-deck-joint", cx: x, cy: from, r: 3.5 });
      }
      draw("line", strip, { class: `labkit-deck-lane labkit-deck-${kind} ${current ? "labkit-deck-done" : ""}`, x1: px(one.start), x2: px(last[at]), y1: y, y2: y });
      let tick = -Infinity;
      for (const step of plan.kept?.[one.name] ?? []) {
        if (px(step) - tick < 4) continue; // a comb of them says no more
        tick = px(step);
        draw("line", strip, { class: "labkit-deck-tick", x1: px(step), x2: px(step), y1: y + 3, y2: y + 9 });
      }
      const past = leaves[one.name];
      if (past > one.start) draw("line", strip, { class: "labkit-deck-past", x1: px(one.start), x2: px(past), y1: y, y2: y });
      if (!current) draw("circle", strip, { class: "labkit-deck-tail", cx: px(last[at]), cy: y, r: 3.5 });
    });
    marks = (plan.events ?? []).map((event) => ({ event, lane: Math.max(0, named(event.where)) }));
    for (const { event, lane } of marks) {
      if (event.kind === "branch") continue; // the fork is its mark
      draw("path", strip, { class: `labkit-deck-mark labkit-deck-${event.kind}`, d: MARKS[event.kind] ?? MARKS.note, transform: `translate(${px(event.step)} ${middle(lane) - 9})` });
    }
    draw("circle", strip, { class: "labkit-deck-now", r: 5 });
    const every = nice(end / Math.max(2, width / 90));
    for (let step = 0; step <= end + 1e-9; step += every) {
      const x = px(step), label = draw("text", strip, { class: "labkit-deck-number", x, y: height - 5, "text-anchor": step === 0 ? "start" : x > width - 26 ? "end" : "middle" });
      label.textContent = whole(step);
      draw("line", strip, { class: "labkit-deck-rule", x1: x, x2: x, y1: height - 21, y2: height - 17 });
    }
    draw("line", strip, { class: "labkit-deck-rule", x1: px(0), x2: px(end), y1: height - 21, y2: height - 21 });
    names(branches);
    history();
  }

  // The names of the lanes on their left, and on the right of those that do not train what makes them go on.
  function names(branches) {
    const focus = lanes.getRootNode().activeElement?.dataset?.goes;
    for (const one of sides) one.remove();
    sides = branches.flatMap((one, at) => {
      const current = one.name === status.branch;
      const label = make("div", `name ${current ? "here" : ""}`, lanes, { title: one.parent === null ? one.name : `${one.name}: from ${one.parent} at step ${whole(one.start)}` }, one.name);
      label.style.gridRow = at + 1;
      if (current || plan.live === false) return [label];
      const go = button("go", lanes, "Go on here", async () => say((await waitingFor(go, orders.ask({ do: "switch", branch: one.name }))).refused), { says: `Train on at the end of ${one.name}` });
      go.setAttribute("aria-label", `Go on with ${one.name}`);
      go.dataset.goes = one.name;
      go.style.gridRow = at + 1;
      if (focus === one.name) go.focus();
      return [label, go];
    });
  }

  function history() {
    const events = plan.events ?? [], key = JSON.stringify([events, plan.earlier]);
    list.hidden = !events.length;
    if (key === listed) return;
    listed = key;
    const total = events.length + (plan.earlier ?? 0);
    put(summary, `${whole(total)} event${total === 1 ? "" : "s"}${plan.earlier ? `, of which ${whole(plan.earlier)} are not shown` : ""}`);
    entries.replaceChildren();
    for (const event of [...events].reverse()) {
      const row = make("li", "event", entries);
      const mark = draw("svg", row, { viewBox: "-7 -7 14 14", "aria-hidden": "true" });
      draw("path", mark, { class: `labkit-deck-mark labkit-deck-${event.kind}`, d: MARKS[event.kind] ?? MARKS.note });
      const go = make("button", "jump", row, { type: "button", title: "Look at this step" }, `step ${whole(event.step)}`);
      go.onclick = () => look(closest(event.step));
      const place = (plan.branches?.length ?? 0) > 1 && event.where ? ` (${event.where})` : "";
      row.append(` ${event.says}${place}`);
    }
  }

  const closest = (step) => (stops.length ? stops.reduce((best, one) => (Math.abs(one - step) < Math.abs(best - step) ? one : best)) : null);
  const stepAt = (event) => ((event.clientX - plot.getBoundingClientRect().left - box.left) / box.width) * box.end;

  function drag(event, last = false) {
    const step = stepAt(event), best = closest(step);
    const away = Math.abs(px(step) - px(head()));
    look(step > head() || best === null || away < Math.abs(px(step) - px(best)) ? null : best, last);
  }

  plot.addEventListener("pointerdown", (event) => {
    if (event.button || !box) return;
    held = true;
    plot.setPointerCapture(event.pointerId);
    hand.focus({ preventScroll: true });
    event.preventDefault();
    drag(event);
  });
  plot.addEventListener("pointermove", (event) => {
    if (held) drag(event);
    point(event);
  });
  for (const end of ["pointerup", "pointercancel"]) plot.addEventListener(end, (event) => {
    if (!held) return;
    held = false;
    if (end === "pointerup") drag(event, true);
  });
  plot.addEventListener("pointerleave", () => (bubble.hidden = true));

  // The sentence of the event under the pointer, or the step that is kept there.
  function point(event) {
    if (!box) return;
    const area = plot.getBoundingClientRect(), x = event.clientX - area.left, y = event.clientY - area.top;
    const hit = marks.filter((one) => Math.abs(px(one.event.step) - x) <= REACH && Math.abs(middle(one.lane) - 6 - y) <= LANE / 2);
    const words = hit.slice(-3).map((one) => `Step ${whole(one.event.step)}: ${one.event.says}`);
    if (!words.length) {
      const step = closest(stepAt(event));
      if (step !== null && Math.abs(px(step) - x) <= REACH) words.push(`Step ${whole(step)} is kept${plan.live === false ? "" : ": a click shows it"}`);
    }
    bubble.hidden = !words.length;
    bubble.replaceChildren(...words.map((text) => make("div", "line", null, {}, text)));
    const right = x > area.width / 2;
    bubble.style.left = right ? "auto" : `${Math.max(0, x - 10)}px`;
    bubble.style.right = right ? `${Math.max(0, area.width - x - 10)}px` : "auto";
    bubble.style.top = `${Math.min(y + 16, area.height - 4)}px`;
  }

  hand.addEventListener("keydown", (event) => {
    const step = viewing(), at = step === null ? stops.length : stops.indexOf(closest(step)), page = Math.max(1, Math.round(stops.length / 10));
    const to = { ArrowLeft: at - 1, ArrowDown: at - 1, ArrowRight: at + 1, ArrowUp: at + 1, PageDown: at - page, PageUp: at + page, Home: 0, End: Infinity }[event.key];
    if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    if (stops.length) look(to >= stops.length ? null : stops[Math.max(0, to)], false);
  });

  const observer = new ResizeObserver(() => paint());
  observer.observe(plot);
  return { show, press: (name) => ({ live, fork })[name].click(), forget: () => observer.disconnect() };
}

function nice(rough) {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, rough)));
  return Math.max(1, [1, 2, 5, 10].find((one) => one * power >= rough) * power);
}
