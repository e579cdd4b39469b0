// Following the teacher: the notebook scrolls to the cell that the teacher shows, and marks it. It never takes the focus, and
// while somebody types it only says where the teacher is.
const QUIET = 4000; // milliseconds after the last key in which a page does not move by itself

function render({ model, el }) {
  dress(model.get("css"));
  const box = piece("div", "box", el, { role: "group", "aria-label": "Following the teacher" });
  const where = piece("span", "follow", box, { role: "status", "aria-live": "polite" });
  const go = piece("button", "start", box, { type: "button", hidden: "" });
  const stop = piece("button", "start", box, { type: "button" });
  go.textContent = "Go there";
  let marked = null, typed = -Infinity, timer = null;

  const following = () => model.get("following");

  function noteKey(event) {
    if (isTyping(event.composedPath()[0])) typed = performance.now();
  }

  const busy = () => performance.now() - typed < QUIET;

  async function move() {
    const place = model.get("place") ?? {}, book = notebookOf(el);
    if (!book || typeof place.cell !== "number") return;
    const scroller = scrollerOf(book), before = scroller.scrollTop;
    let cell = cellSaying(book, place.words, place.cell);
    if (!cell) {
      const near = await cellAt(book, place.cell); // what a windowed notebook keeps off the page is looked for there
      cell = place.words ? cellSaying(book, place.words, place.cell) : near;
      if (!cell) scroller.scrollTop = before;
    }
    marked?.classList.remove("labkit-teacher-here");
    marked = cell;
    if (!cell) return;
    cell.classList.add("labkit-teacher-here");
    bring(book, cell);
  }

  function arrive() {
    clearTimeout(timer);
    const place = model.get("place") ?? {}, known = typeof place.cell === "number";
    stop.textContent = following() ? "Stop" : "Follow again";
    stop.setAttribute("aria-pressed", String(following()));
    const at = known ? `: ${place.words || `cell ${place.cell + 1}`}` : "";
    const mine = !known || model.get("mine");
    const says = following() ? (busy() && known ? "The teacher is elsewhere, and you are typing" : "Following the teacher") : "Not following the teacher";
    where.textContent = mine ? says + at : `The teacher is in another notebook: ${place.notebook}`;
    go.hidden = !known || !mine || (following() && !busy());
    if (!following() || !known || !mine) return;
    if (busy()) timer = setTimeout(arrive, QUIET);
    else move();
  }

  go.addEventListener("click", move);
  stop.addEventListener("click", () => {
    model.set("following", !following());
    model.save_changes();
    arrive();
  });
  window.addEventListener("keydown", noteKey, true);
  for (const name of ["place", "following"]) model.on(`change:${name}`, arrive);
  arrive();
  return () => {
    clearTimeout(timer);
    marked?.classList.remove("labkit-teacher-here");
    window.removeEventListener("keydown", noteKey, true);
    for (const name of ["place", "following"]) model.off(`change:${name}`, arrive);
  };
}

export default { render };
