// The cells of the notebook around a widget, as they stand in JupyterLab's page. Where a notebook is windowed, cells out of
// view are not on the page at all: then it is scrolled until the wanted one is.
const EDITABLE = "input, textarea, select, [contenteditable='true'], .cm-content";

const notebookOf = (el) => el.closest(".jp-Notebook");
const numberOf = (cell, at) => Number(cell.dataset.windowedListIndex ?? at);
const cellsOf = (notebook) => [...notebook.querySelectorAll(".jp-Cell")].map((cell, at) => ({ cell, at: numberOf(cell, at) })).sort((a, b) => a.at - b.at);
const isTyping = (target) => Boolean(target?.closest?.(EDITABLE));

// What a cell says, short enough to be sent and to be found again: its heading, or how it begins.
function wordsOf(cell) {
  const input = cell.querySelector(".jp-RenderedMarkdown h1, .jp-RenderedMarkdown h2, .jp-RenderedMarkdown h3") ?? cell.querySelector(".jp-Cell-inputArea .jp-RenderedMarkdown, .jp-Cell-inputArea .cm-content");
  return (input?.textContent ?? "").replace(/\u00b6/g, "").replace(/\s+/g, " ").trim().slice(0, 80);
}

function scrollerOf(notebook) {
  return notebook.querySelector(".jp-WindowedPanel-outer") ?? notebook;
}

const nextFrame = () => new Promise((go) => setTimeout(go, 40));

// The cell with this number, brought onto the page where it is not there; null where there is none.
async function cellAt(notebook, wanted) {
  const scroller = scrollerOf(notebook);
  for (let tries = 0; tries < 80; tries++) {
    const there = cellsOf(notebook), found = there.find(({ at }) => at === wanted);
    if (found) return found.cell;
    if (!there.length) return null;
    const before = scroller.scrollTop;
    scroller.scrollTop += (wanted > there[there.length - 1].at ? 0.9 : -0.9) * scroller.clientHeight;
    await nextFrame();
    if (scroller.scrollTop === before) return null;
  }
  return null;
}

// The cell that says the same, nearest to where it stands in the other notebook; null where nobody says that here.
function cellSaying(notebook, words, near) {
  const same = words ? cellsOf(notebook).filter(({ cell }) => wordsOf(cell) === words) : [];
  same.sort((a, b) => Math.abs(a.at - near) - Math.abs(b.at - near));
  return same[0]?.cell ?? null;
}

function bring(notebook, cell) {
  const scroller = scrollerOf(notebook), frame = scroller.getBoundingClientRect(), own = cell.getBoundingClientRect();
  const room = Math.max(16, Math.min(0.25 * frame.height, (frame.height - own.height) / 2));
  scroller.scrollTo({ top: scroller.scrollTop + own.top - frame.top - room, behavior: "instant" });
}

function piece(tag, name, parent, attributes = {}) {
  const element = document.createElement(tag);
  element.className = `labkit-stage-${name}`;
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  parent.append(element);
  return element;
}

// One stylesheet of the page, for what lies outside the widget itself.
function dress(css) {
  const id = "labkit-stage-style";
  if (!document.getElementById(id)) document.head.append(Object.assign(document.createElement("style"), { id, textContent: css }));
}
