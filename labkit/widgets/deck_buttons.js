// One row of buttons, and below it the line that says where the run is.
const WORDS = {
  ready: "Ready", running: "Running", paused: "Paused", finished: "Finished", recorded: "Recorded", stopped: "Stopped", failed: "Failed",
  queued: "Waiting for a place",
};
const GOING = ["running", "queued"];
const ENDED = ["stopped", "recorded"];
const LONG = 30; // seconds of training after which Stop asks once more
const SILENT = 5000; // ms without news while it should be running

function buttonsOf(parent, orders, say) {
  const row = make("div", "row", parent, { role: "toolbar", "aria-label": "Training" });
  const order = async (made, what) => say((await waitingFor(made, orders.ask(what))).refused);
  let status = {}, plan = {};

  const run = button("run", row, "Run", () => order(run, { do: GOING.includes(status.state) ? "pause" : "run" }));
  const runIcon = icon("run", run);
  run.prepend(runIcon);
  const step = button("step", row, "Step", () => order(step, { do: "step", count: 1 }), { picture: "step", says: "One training step (key .)" });
  const some = make("span", "some", row);
  const steps = button("steps", some, "Steps", () => many(), { picture: "steps", says: "So many training steps (key n)" });
  const count = make("input", "count", some, { type: "text", inputmode: "numeric", value: "10", "aria-label": "How many steps", size: 5 });
  const stop = button("stop", row, "Stop", () => ending(), { picture: "stop", says: "End this run for good; what was recorded stays" });
  const sure = make("span", "sure", row, { role: "alertdialog", "aria-label": "Stop for good?", hidden: "" });
  make("span", "question", sure, {}, "Stop for good?");
  const yes = button("yes", sure, "Stop it", () => {
    sure.hidden = true;
    stop.hidden = false;
    stop.focus();
    order(stop, { do: "stop" });
  });
  const no = button("no", sure, "Go on", () => keep());
  const undo = button("undo", row, "Undo", () => order(undo, { do: "undo" }), { picture: "undo", says: "Take the last intervention back (key u)" });
  const help = button("help", row, "?", () => toggle(), { says: "Keys (key ?)" });
  help.setAttribute("aria-label", "Keys");
  help.setAttribute("aria-expanded", "false");

  const line = make("div", "line", parent);
  const state = make("span", "state", line);
  const place = make("span", "place", line);
  const speed = make("span", "speed", line);
  const says = make("span", "says", line, { role: "status", "aria-live": "polite" });
  const silence = make("div", "silence", parent, { role: "status", hidden: "" });
  const keys = make("dl", "keys", parent, { hidden: "" });
  for (const [key, means] of KEYS) {
    make("dt", "key", keys).append(Object.assign(document.createElement("kbd"), { textContent: key }));
    make("dd", "means", keys, {}, means);
  }

  function many() {
    const number = numberOf(count.value);
    const fits = Number.isInteger(number) && number >= 1;
    count.setAttribute("aria-invalid", !fits);
    if (fits) order(steps, { do: "step", count: number });
    else say(`The number of steps is a whole number from 1, and not “${count.value.trim()}”.`);
  }
  count.onkeydown = (event) => {
    if (event.key === "Enter") many();
  };
  count.oninput = () => count.removeAttribute("aria-invalid");

  function ending() {
    const seconds = status.speed ? status.step / status.speed : status.step / 30;
    if (!(seconds > LONG)) return order(stop, { do: "stop" });
    stop.hidden = true;
    sure.hidden = false;
    no.focus();
  }

  function keep() {
    sure.hidden = true;
    stop.hidden = false;
    stop.focus();
  }
  sure.onkeydown = (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    keep();
  };

  function toggle(open = keys.hidden) {
    keys.hidden = !open;
    help.setAttribute("aria-expanded", open);
  }

  function show(newStatus, newPlan) {
    [status, plan] = [newStatus, newPlan];
    const going = GOING.includes(status.state), ended = ENDED.includes(status.state), live = plan.live !== false;
    row.hidden = !live;
    const busy = orders.waits("run") || orders.waits("pause");
    if (!busy) {
      put(run.lastChild, going ? "Pause" : "Run");
      run.title = going ? "Pause between two steps (space)" : "Train on (space)";
      const shape = ICONS[going ? "pause" : "run"], path = runIcon.firstChild;
      if (path.getAttribute("d") !== shape) path.setAttribute("d", shape);
    }
    const done = status.state === "finished";
    enable(run, live && !ended && !done);
    enable(step, live && !ended && !going && !done);
    enable(steps, live && !ended && !going && !done);
    enable(stop, live && !ended);
    enable(undo, live && !ended && plan.touched?.length > 0);
    state.dataset.state = status.state ?? "";
    put(state, WORDS[status.state] ?? status.state ?? "");
    const of = status.steps ? ` of ${whole(status.steps)}` : "";
    const branch = plan.branches?.length > 1 ? ` · on ${status.branch}` : "";
    put(place, Number.isFinite(status.step) ? `step ${whole(status.step)}${of}${branch}` : "");
    put(speed, status.state === "running" && status.speed ? `${short(status.speed, status.speed >= 100 ? 3 : 2)} steps/s` : "");
    put(says, status.error ? "" : status.says ?? ""); // what went wrong is said in a box of its own
  }

  // What a person should know when Python is silent; `heard` is when the last status arrived, in ms since 1970.
  function listen(heard) {
    const now = Date.now(), since = orders.since;
    let words = "";
    if (status.state === "running" && plan.live !== false && now - heard > SILENT) {
      words = `No news from the kernel since ${clock(status.at ?? heard / 1000)}. It may be busy, or gone; what is shown is the last that was heard.`;
    } else if (since !== null && now - since > SILENT) {
      words = `The kernel has not answered since ${clock(since / 1000)}. It may be busy with a cell; it will obey when that is done.`;
    }
    silence.hidden = !words;
    put(silence, words);
  }

  return {
    show, listen, toggle, many,
    press: (name) => ({ run, step, stop, undo, help, yes })[name].click(),
    get open() { return !keys.hidden; },
  };
}
