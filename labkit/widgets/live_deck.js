// The deck of a training that can be held. Only model.get, set, save_changes, on and off: the same module runs in a
// notebook, in Panel and in an exported page. The browser orders; what is shown is what Python has confirmed.
const KEYS = [
  ["space", "run or pause"],
  [". or →", "one step (→ in the timeline: the next kept step)"],
  ["n", "so many steps as the field says"],
  ["b", "branch here"],
  ["l", "live: the pictures follow the training"],
  ["u", "undo the last intervention"],
  ["?", "these keys"],
];

function render({ model, el }) {
  // the letters belong to the deck while it has the focus: JupyterLab would insert a cell at "b"
  const root = make("div", "root", el, { role: "region", tabindex: 0, "data-lm-suppress-shortcuts": "true" });
  const orders = ordersOf(model, later);
  const refusal = make("div", "refused", null, { role: "alert", hidden: "" });
  const close = make("button", "close", refusal, { type: "button", "aria-label": "Put this message away" }, "×");
  const words = make("span", "words", null);
  refusal.prepend(words);
  close.onclick = () => say(null);
  const say = (sentence) => {
    refusal.hidden = !sentence;
    put(words, sentence ?? "");
  };
  const buttons = buttonsOf(root, orders, say);
  root.append(refusal);
  const trouble = troubleOf(root);
  const timeline = timelineOf(root, orders, say);
  const picked = pickedOf(root, orders, say);
  const dials = dialsOf(root, orders);
  let heard = Date.now(), frame = null;

  function arrive() {
    heard = Date.now();
    later();
  }

  function later() {
    if (frame === null) frame = (document.hidden ? setTimeout : requestAnimationFrame)(show, 0);
  }

  function show() {
    frame = null;
    const status = JSON.parse(model.get("status") || "{}"), plan = JSON.parse(model.get("plan") || "{}");
    root.dataset.dark = isDark(root.parentElement);
    root.setAttribute("aria-label", `Training: ${plan.name ?? ""}`);
    buttons.show(status, plan);
    buttons.listen(heard);
    trouble.show(status.error, status.says);
    timeline.show(plan, status);
    picked.show(plan, status);
    dials.show(plan, status);
    if (!document.hidden && model.get("acked") !== model.get("seq")) {
      model.set("acked", model.get("seq"));
      model.save_changes();
    }
  }

  root.addEventListener("keydown", (event) => {
    const at = event.composedPath()[0], typing = at.tagName === "INPUT" && at.type === "text";
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && buttons.open) return buttons.toggle(false);
    if (typing || JSON.parse(model.get("plan") || "{}").live === false) return;
    const onButton = ["BUTTON", "SUMMARY"].includes(at.tagName), arrows = at.tagName === "INPUT";
    const act = {
      " ": onButton ? null : () => buttons.press("run"),
      ArrowRight: arrows ? null : () => buttons.press("step"),
      ".": () => buttons.press("step"),
      n: () => buttons.many(),
      b: () => timeline.press("fork"),
      l: () => timeline.press("live"),
      u: () => buttons.press("undo"),
      "?": () => buttons.toggle(),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    event.stopPropagation();
    if (!event.repeat) act();
  });

  for (const name of ["status", "plan", "seq"]) model.on(`change:${name}`, arrive);
  const clockwork = setInterval(() => buttons.listen(heard), 500);
  const forget = watchTheme(later);
  document.addEventListener("visibilitychange", later);
  show();
  return () => {
    for (const name of ["status", "plan", "seq"]) model.off(`change:${name}`, arrive);
    clearInterval(clockwork);
    document.removeEventListener("visibilitychange", later);
    orders.forget();
    timeline.forget();
    forget();
  };
}

export default { render };
