// Answers from what an exported page holds, in place of Python: some planes whole, of others a picture in coarse blocks.
function localArray(model) {
  const shelf = JSON.parse(model.get("shelf") || "null");
  if (!shelf) return null;
  const packed = bytes(model.get("pieces")), unpacked = new Map();
  const KINDS = { f4: Float32Array, f8: Float64Array, i1: Int8Array, u1: Uint8Array, i2: Int16Array, u2: Uint16Array, i4: Int32Array, u4: Uint32Array };
  const find = (index) => shelf.planes.find((plane) => Object.entries(index).every(([dim, place]) => plane.index[dim] === place));
  const label = (axis, place) => {
    const { texts: written, first, stride } = shelf.labels[axis];
    return written ? written[place] ?? String(place) : String(first + place * stride);
  };
  const word = (axis) => shelf.words[axis];

  async function values(piece) {
    if (!unpacked.has(piece.from)) {
      const raw = await inflated(packed.slice(piece.from, piece.from + piece.size));
      unpacked.set(piece.from, new KINDS[piece.kind](raw.buffer));
    }
    return unpacked.get(piece.from);
  }

  // The window in blocks; window and block are in places of the array, what is returned too.
  async function blocks(plane, { window, block, how }) {
    const piece = plane.pieces[0], grid = await values(piece), [down, across] = piece.shape;
    const steps = [0, 1].map((one) => Math.max(1, Math.round(block[one] / piece.block[one])));
    const ends = window.map((place, at) => (at % 2 ? Math.ceil : Math.floor)(place / piece.block[at >> 1]));
    const [top, bottom, left, right] = [ends[0], Math.min(down, ends[1]), ends[2], Math.min(across, ends[3])];
    const shape = [Math.ceil((bottom - top) / steps[0]), Math.ceil((right - left) / steps[1])];
    const cells = new Float64Array(shape[0] * shape[1]).fill(NaN), counts = new Uint32Array(cells.length);
    for (let row = top; row < bottom; row++) for (let column = left; column < right; column++) {
      const value = Number(grid[row * across + column]);
      if (!Number.isFinite(value)) continue;
      const at = Math.floor((row - top) / steps[0]) * shape[1] + Math.floor((column - left) / steps[1]), old = cells[at];
      if (!counts[at]++) cells[at] = value;
      else if (how === "mean") cells[at] = old + value;
      else if (how === "lowest") cells[at] = Math.min(old, value);
      else if (Math.abs(value) > Math.abs(old) || (value > 0 && value === -old)) cells[at] = value;
    }
    if (how === "mean") for (let at = 0; at < cells.length; at++) if (counts[at]) cells[at] /= counts[at];
    const size = [steps[0] * piece.block[0], steps[1] * piece.block[1]];
    const covered = [top * piece.block[0], Math.min(shelf.sizes[0], bottom * piece.block[0]), left * piece.block[1], Math.min(shelf.sizes[1], right * piece.block[1])];
    return { cells, shape, block: size, window: covered, whole: piece.block[0] * piece.block[1] === 1, how: piece.how || how };
  }

  function ends(low, high) {
    if (low < 0 && high > 0) return { limits: [-Math.max(-low, high), Math.max(-low, high)], signed: true };
    if (low > 0 && low < high / 20) return { limits: [0, high], signed: false };
    return { limits: [low, high > low ? high : low + 1], signed: false };
  }

  function limitsOf(asked, plane, cells) {
    if (asked.scale === "given") return { limits: shelf.limits, signed: shelf.limits[0] === -shelf.limits[1] };
    if (asked.scale === "all" && shelf.all) return ends(...shelf.all);
    const seen = asked.scale === "visible" ? cells.filter(Number.isFinite) : [];
    if (!seen.length) return ends(plane.low, plane.high);
    return ends(seen.reduce((a, b) => Math.min(a, b)), seen.reduce((a, b) => Math.max(a, b)));
  }

  function marks(axis, from, to) {
    let apart = 1;
    for (let turn = 0; (to - from) / apart > shelf.ticks; turn++) apart = [2, 5, 10][turn % 3] * 10 ** Math.floor(turn / 3);
    const found = {};
    for (let place = Math.ceil(from / apart) * apart; place < to; place += apart) found[place] = label(axis, place);
    return { apart, texts: found };
  }

  const chosen = (index) => Object.fromEntries(Object.entries(index).map(([dim, place]) => [dim, shelf.others[dim]?.[place] ?? String(place)]));

  async function picture(asked) {
    const plane = find(asked.index);
    const known = { count: asked.count, chosen: chosen(asked.index), index: asked.index };
    if (!plane) return { state: { ...known, error: shelf.absent } };
    const found = await blocks(plane, asked), { limits, signed } = limitsOf(asked, plane, found.cells);
    const state = {
      ...known, how: found.how, scale: asked.scale, root: asked.root, rows: asked.rows, columns: asked.columns,
      window: found.window, block: found.block, shape: found.shape, limits, signed, missing: found.cells.some(Number.isNaN),
      sampled: null, ticks: [marks(0, found.window[0], found.window[1]), marks(1, found.window[2], found.window[3])],
      alt: plane.alt, coarse: !found.whole && plane.pieces[0].block,
    };
    const codes = Uint8Array.from(found.cells, (value) =>
      Number.isNaN(value) ? 0 : 1 + Math.round(254 * Math.min(1, Math.max(0, shareOf(value, state)))));
    return { state, codes };
  }

  const span = (axis, from, to) => `${word(axis)} ${label(axis, from)}${to - from > 1 ? ` to ${label(axis, to - 1)}` : ""}`;

  async function cell(asked) {
    const plane = find(asked.index);
    if (!plane) return { head: "", value: "", more: shelf.absent };
    const found = await blocks(plane, { ...asked, block: [asked.window[1] - asked.window[0], asked.window[3] - asked.window[2]] });
    const [top, bottom, left, right] = found.window, size = [bottom - top, right - left];
    const single = size[0] * size[1] === 1;
    const more = single ? "" : `${shelf.how[found.how]} of ${size[0]} x ${size[1]} values${found.whole ? "" : "; each of them is not in this page"}`;
    const value = Number.isNaN(found.cells[0]) ? "no value" : short(found.cells[0], plane.pieces[0].kind);
    return { head: `${span(0, top, bottom)}, ${span(1, left, right)}`, value, more };
  }

  // The shortest text that is exactly this number, as Python writes it.
  function short(value, kind) {
    if (kind !== "f4") return String(value);
    for (let digits = 1; digits < 10; digits++) if (Math.fround(Number(value.toPrecision(digits))) === value) return String(Number(value.toPrecision(digits)));
    return String(value);
  }

  async function numbers(asked) {
    const plane = find(asked.index);
    if (!plane) return { rows: [], columns: [], values: new Float64Array(0) };
    const found = await blocks(plane, asked);
    const names = (axis, from, to, step) => Array.from({ length: Math.ceil((to - from) / step) }, (_, at) => label(axis, from + at * step));
    const [top, bottom, left, right] = found.window;
    return { rows: names(0, top, bottom, found.block[0]), columns: names(1, left, right, found.block[1]), values: found.cells };
  }

  return { picture, cell, numbers, says: shelf.says, all: shelf.all };
}
