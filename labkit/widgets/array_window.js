// The arithmetic of what is visible: a view is [top, bottom, left, right] in places of the array, with fractions.
function clampedView([top, bottom, left, right], sizes) {
  const clamp = (from, to, most) => {
    const length = Math.min(most, Math.max(Math.min(4, most), to - from));
    const start = Math.min(most - length, Math.max(0, (from + to - length) / 2));
    return [start, start + length];
  };
  return [...clamp(top, bottom, sizes[0]), ...clamp(left, right, sizes[1])];
}

// How many values share a cell, so that cells are no smaller than pixels and no more than travel in one picture.
function blockOf(view, area, cells) {
  const scale = window.devicePixelRatio || 1, [rows, columns] = [view[1] - view[0], view[3] - view[2]];
  let tall = Math.max(1, Math.ceil(rows / (area.height * scale) - 0.01)), wide = Math.max(1, Math.ceil(columns / (area.width * scale) - 0.01));
  const edge = () => rows / tall + columns / wide + 1; // the window is up to a block longer than the view, each way
  while (Math.ceil(rows / tall) * Math.ceil(columns / wide) + (tall * wide > 1 ? edge() : 0) > cells) {
    if (rows / tall >= columns / wide) tall++;
    else wide++;
  }
  return [tall, wide];
}

function windowOf(view, block, sizes) {
  return [0, 1].flatMap((k) => [
    Math.floor(view[2 * k] / block[k] + 1e-6) * block[k],
    Math.min(sizes[k], Math.ceil(view[2 * k + 1] / block[k] - 1e-6) * block[k]),
  ]);
}

const planeKey = (one) => JSON.stringify([one.rows, one.columns, one.index, one.how, one.scale, one.root]);

// Whether a picture shows this window already, with labels that are close enough to each other.
function covers(state, wanted) {
  if (planeKey(state) !== planeKey(wanted) || String(state.block) !== String(wanted.block)) return false;
  if (wanted.scale === "visible") return String(state.window) === String(wanted.window);
  return [0, 1].every((k) => {
    const [from, to] = wanted.window.slice(2 * k, 2 * k + 2), { apart } = state.ticks[k];
    return state.window[2 * k] <= from && state.window[2 * k + 1] >= to && (apart === 1 || (to - from) / apart >= 8);
  });
}

// Where the view must move so that a cell is in it; null on an axis that does not matter.
function uncovered(view, row, column) {
  const shift = (from, to, place) => (place === null || (place >= from && place + 1 <= to) ? 0 : place < from ? place - from : place + 1 - to);
  const down = shift(view[0], view[1], row), across = shift(view[2], view[3], column);
  return down || across ? [view[0] + down, view[1] + down, view[2] + across, view[3] + across] : null;
}
