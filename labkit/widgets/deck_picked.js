// What was picked in a picture and what can be done with it; what is in force; and what went wrong.
function pickedOf(parent, orders, say) {
  const strip = make("div", "picked", parent, { role: "group", "aria-label": "What was picked", hidden: "" });
  const force = make("div", "force", parent, { role: "group", "aria-label": "Interventions in force", hidden: "" });
  let shape = "", forced = "";

  function show(plan, status) {
    const possible = plan.live !== false && !ENDED.includes(status.state), key = JSON.stringify([plan.picked, possible]);
    if (key !== shape) {
      shape = key;
      strip.hidden = !plan.picked;
      strip.replaceChildren();
      if (plan.picked) fill(plan.picked, possible);
    }
    const touched = JSON.stringify(plan.touched ?? []);
    if (touched === forced) return;
    forced = touched;
    force.hidden = !plan.touched?.length;
    force.replaceChildren();
    if (force.hidden) return;
    make("span", "heading", force, {}, "In force:");
    const entries = make("ol", "list", force);
    plan.touched.forEach((says, at) => {
      const row = make("li", "touch", entries, {}, says);
      if (at !== plan.touched.length - 1 || plan.live === false) return;
      const back = button("back", row, "Undo", async () => say((await waitingFor(back, orders.ask({ do: "undo" }))).refused), { says: "Take it back (key u)" });
      back.setAttribute("aria-label", `Undo: ${says}`);
    });
  }

  function fill(picked, possible) {
    make("span", "heading", strip, {}, picked.says);
    for (const choice of picked.choices) {
      const holder = make("span", "choice", strip);
      let field = null;
      const act = button("act", holder, choice.words, async () => {
        const order = { do: "touch", intervention: choice.intervention };
        if (field) {
          order.value = numberOf(field.value);
          field.setAttribute("aria-invalid", !Number.isFinite(order.value));
          if (!Number.isFinite(order.value)) return say(`“${field.value.trim()}” is no number.`);
        }
        say((await waitingFor(act, orders.ask(order))).refused);
      });
      enable(act, possible);
      if (choice.value === null || choice.value === undefined) continue;
      field = make("input", "field", holder, { type: "text", inputmode: "decimal", "aria-label": `${choice.words}, value`, value: short(choice.value, 5) });
      field.onkeydown = (event) => {
        if (event.key === "Enter") act.click();
      };
      if (choice.unit) make("span", "unit", holder, {}, choice.unit);
    }
    if (!picked.choices.length) make("span", "unit", strip, {}, "Nothing can be done with it.");
  }

  return { show };
}

// What went wrong: the sentence that Python says, else the last line of the traceback, which is whole behind "details".
function troubleOf(parent) {
  const box = make("div", "trouble-box", parent, { role: "alert", hidden: "" });
  const words = make("div", "sentence", box);
  const details = make("details", "details", box);
  make("summary", "summary", details, {}, "details");
  const text = make("pre", "traceback", details, { tabindex: 0 });
  return {
    show(error, says) {
      box.hidden = !error;
      if (!error) return;
      const lines = error.trim().split("\n");
      const traced = lines.length > 1;
      put(words, says || (/^Traceback/.test(lines[0]) ? lines[lines.length - 1] : lines[0]));
      details.hidden = !traced;
      put(text, error.trim());
    },
  };
}
