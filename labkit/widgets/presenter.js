// Presenter mode of a notebook: large type, one cell bright, keys and clickers go from cell to cell. It only adds classes to
// the page and listens to keys; whoever types in an editor is left alone. model.get, set, save_changes, on and off only.
const FORWARD = ["PageDown", "ArrowRight"], BACK = ["PageUp", "ArrowLeft"];

function render({ model, el }) {
  dress(model.get("css"));
  const box = piece("div", "box", el, { role: "group", "aria-label": "Presenter mode" });
  const start = piece("button", "start", box, { type: "button" });
  const hint = piece("span", "hint", box);
  start.textContent = "▶ Present";
  hint.textContent = "Arrow keys or a clicker go from cell to cell, Escape leaves.";
  let bar = null, lit = null, at = 0, count = 0, over = null;

  const notebook = () => notebookOf(el);
  const on = () => bar !== null;

  async function go(to) {
    const book = notebook();
    if (!book) return;
    const last = Math.max(...cellsOf(book).map(({ at }) => at));
    const cell = await cellAt(book, Math.max(0, to)) ?? await cellAt(book, Math.min(Math.max(0, to), last));
    if (!cell || !on()) return;
    at = numberOf(cell, to);
    lit?.classList.remove("labkit-lit");
    lit = cell;
    lit.classList.add("labkit-lit");
    // the focused cell is JupyterLab's active one: Shift-Enter runs it
    cell.focus({ preventScroll: true });
    bring(book, cell);
    tell();
  }

  function tell() {
    const words = wordsOf(lit);
    count = Math.max(count, ...cellsOf(notebook()).map(({ at }) => at + 1)); // of a windowed notebook some are not there
    bar.querySelector(".labkit-stage-where").textContent = `${at + 1} of ${count}`;
    bar.querySelector(".labkit-stage-spoken").textContent = `Cell ${at + 1}: ${words}`;
    model.set("place", { cell: at, words, count: (model.get("place")?.count ?? 0) + 1 });
    model.save_changes();
  }

  function enter() {
    const book = notebook();
    if (on()) return;
    if (!book) {
      hint.textContent = "This works in JupyterLab: here is no notebook around this button.";
      return;
    }
    globalThis.labkitStage?.();
    globalThis.labkitStage = leave;
    book.classList.add("labkit-presenting");
    bar = piece("div", "bar", document.body, { role: "toolbar", "aria-label": "Presenter mode" });
    for (const [name, text, label, act] of [["back", "‹", "Back", () => go(at - 1)], ["forth", "›", "On", () => go(at + 1)], ["leave", "✕", "Leave presenter mode", leave]]) {
      const button = piece("button", name, bar, { type: "button", "aria-label": label, title: label });
      button.textContent = text;
      button.addEventListener("click", act);
      if (name === "back") piece("span", "where", bar);
    }
    piece("span", "spoken", bar, { role: "status", "aria-live": "polite" });
    piece("span", "told", bar, { role: "status" });
    heard();
    start.setAttribute("aria-pressed", "true");
    window.addEventListener("keydown", press, true);
    book.addEventListener("pointermove", hover);
    book.addEventListener("focusin", follow);
    window.dispatchEvent(new Event("resize")); // editors measure their lines again
    const own = el.closest(".jp-Cell"), place = cellsOf(book).find(({ cell }) => cell === own);
    go((place?.at ?? -1) + 1);
  }

  // Whether the class hears where we are.
  function heard() {
    const said = model.get("said"), label = bar?.querySelector(".labkit-stage-told");
    if (label) label.textContent = said || (model.get("told") ? "the class can follow" : "");
  }

  function leave() {
    if (!on()) return;
    if (globalThis.labkitStage === leave) globalThis.labkitStage = undefined;
    notebook()?.classList.remove("labkit-presenting");
    notebook()?.removeEventListener("pointermove", hover);
    notebook()?.removeEventListener("focusin", follow);
    lit?.classList.remove("labkit-lit");
    bar.remove();
    bar = null;
    start.setAttribute("aria-pressed", "false");
    window.removeEventListener("keydown", press, true);
    window.dispatchEvent(new Event("resize"));
  }

  // Another cell was clicked or run: that is where the talk is now.
  function follow(event) {
    const cell = event.target.closest?.(".jp-Cell");
    if (!cell || cell === lit || !on()) return;
    lit?.classList.remove("labkit-lit");
    lit = cell;
    lit.classList.add("labkit-lit");
    at = numberOf(cell, at);
    const frame = scrollerOf(notebook()).getBoundingClientRect(), own = cell.getBoundingClientRect();
    if (own.top < frame.top || own.top > frame.bottom - 80) bring(notebook(), cell);
    tell();
  }

  const hover = (event) => { over = event.target.closest?.(".jp-OutputArea-output") ?? null; };

  // A step slider below the pointer takes the arrow keys; the clicker's keys go on from cell to cell.
  const scrubber = () => (over?.isConnected && over.matches(":hover") ? over.querySelector(".noUi-handle") : null);

  function press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey || !notebook()?.isConnected) return;
    const target = event.composedPath()[0], arrow = event.key.startsWith("Arrow");
    if (isTyping(target) || (notebook().offsetParent === null)) return;
    const step = FORWARD.includes(event.key) ? 1 : BACK.includes(event.key) ? -1 : 0;
    const slider = arrow && step ? scrubber() : null;
    if (slider && target !== slider) {
      slider.dispatchEvent(new KeyboardEvent("keydown", { key: event.key, bubbles: true }));
    } else if (arrow && target.closest?.("[data-lm-suppress-shortcuts], [role='slider'], [role='application'], [role='listbox']")) {
      return; // a control of its own has the arrow keys
    } else if (step) go(at + step);
    else if (event.key === "Escape") leave();
    else return;
    event.preventDefault();
    event.stopImmediatePropagation();
  }

  start.addEventListener("click", () => (on() ? leave() : enter()));
  model.on("change:said", heard);
  return () => {
    model.off("change:said", heard);
    leave();
  };
}

export default { render };
