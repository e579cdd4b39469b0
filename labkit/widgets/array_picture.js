// From codes to colours, and the picture of a plane with its axes and its colour bar. Code 0 is no value; code c stands
// for the share (c - 1) / 254 of the way from the lower to the upper limit, of the root of it in the root scale.
function table(stops) {
  const colors = stops.map((stop) => [1, 3, 5].map((at) => parseInt(stop.slice(at, at + 2), 16)));
  const found = new Uint32Array(256);
  for (let code = 1; code < 256; code++) {
    const at = ((code - 1) / 254) * (colors.length - 1), low = Math.min(colors.length - 2, Math.floor(at));
    const [red, green, blue] = colors[low].map((one, k) => Math.round(one + (at - low) * (colors[low + 1][k] - one)));
    found[code] = (255 << 24) | (blue << 16) | (green << 8) | red;
  }
  return found;
}

function imageOf(codes, [down, across], stops) {
  const canvas = document.createElement("canvas");
  canvas.width = across;
  canvas.height = down;
  const context = canvas.getContext("2d"), image = context.createImageData(across, down);
  const pixels = new Uint32Array(image.data.buffer), colors = table(stops);
  for (let at = 0; at < pixels.length; at++) pixels[at] = colors[codes[at]];
  context.putImageData(image, 0, 0);
  return canvas;
}

function shareOf(value, { limits: [low, high], signed, root }) {
  const share = (value - low) / (high - low);
  if (!root) return share;
  const side = 2 * share - 1;
  return signed ? (1 + Math.sign(side) * Math.sqrt(Math.abs(side))) / 2 : Math.sqrt(Math.max(0, share));
}

function valueOf(code, { limits: [low, high], signed, root }) {
  if (!code) return NaN;
  let share = (code - 1) / 254;
  if (root && signed) share = (1 + Math.sign(2 * share - 1) * (2 * share - 1) ** 2) / 2;
  else if (root) share **= 2;
  return low + share * (high - low);
}

const cut = (words, letters) => (words.length > letters ? `${words.slice(0, letters - 1).trimEnd()}…` : words);
const texts = (ticks) => Object.values(ticks?.texts ?? {});
const rough = (value) => (Number.isFinite(value) ? exact(Number(value.toPrecision(3))) : "no value");

const BAR = 110;

// Where the cells, the labels and the colour bar lie. Two axes of similar length give square cells.
function layout(pen, width, sizes, ticks, units) {
  const widest = (one) => Math.max(12, ...texts(one).map((text) => pen.measure(cut(text, 18))));
  const x = Math.ceil(widest(ticks[0])) + 38, right = units ? 106 : 88, wide = Math.max(80, width - x - right);
  const ratio = sizes[0] / sizes[1];
  const area = { x, y: 14, width: wide, height: Math.min(420, Math.max(120, 22 * sizes[0])) };
  if (ratio >= 0.5 && ratio <= 2) {
    const scale = Math.min(wide / sizes[1], 560 / sizes[0]);
    Object.assign(area, { width: sizes[1] * scale, height: sizes[0] * scale });
  }
  const most = texts(ticks[1]).map((text) => pen.measure(cut(text, 18)));
  const longest = Math.max(12, ...most), shown = most.length;
  const turned = longest + 14 > area.width / Math.max(1, Math.min(shown, 8));
  const below = turned ? Math.ceil(longest) + 12 : 24;
  const bar = Math.max(BAR, Math.min(260, area.height));
  return { area, turned, height: Math.ceil(Math.max(area.y + area.height + below + 26, area.y + bar + 46)), below, bar };
}

function drawPlane(pen, scene) {
  const { area, turned, below } = scene.layout, { view, ink, muted, grid, surface, setup, state, pictures } = scene;
  const px = (column) => area.x + ((column - view[2]) / (view[3] - view[2])) * area.width;
  const py = (row) => area.y + ((row - view[0]) / (view[1] - view[0])) * area.height;
  hatch(pen, area, surface, grid);
  for (const { image, state: of } of pictures) {
    const [top, , left] = of.window, [down, across] = of.shape;
    const x = px(left), y = py(top);
    const wide = px(left + across * of.block[1]) - x, high = py(top + down * of.block[0]) - y;
    pen.image(image, x, y, wide, high, area);
  }
  pen.box(area.x - 0.5, area.y - 0.5, area.width + 1, area.height + 1, { stroke: grid });
  const [rows, columns] = state.ticks;
  for (const [place, text] of spaced(rows, view[0], view[1], area.height, 17)) {
    const y = py(place + 0.5);
    pen.line(area.x - 5, y, area.x - 1, y, { color: muted });
    pen.text(cut(text, 18), area.x - 8, y, { align: "right", color: muted });
  }
  const room = turned ? 17 : Math.max(12, ...texts(columns).map((text) => pen.measure(cut(text, 18)))) + 14;
  for (const [place, text] of spaced(columns, view[2], view[3], area.width, room)) {
    const x = px(place + 0.5), y = area.y + area.height;
    pen.line(x, y + 1, x, y + 5, { color: muted });
    if (turned) pen.text(cut(text, 18), x, y + 9, { align: "right", color: muted, turn: -90 });
    else pen.text(text, x, y + 14, { align: "center", color: muted });
  }
  const word = (dim) => setup.axes[dim].word;
  pen.text(word(state.columns), area.x + area.width / 2, area.y + area.height + below + 12, { align: "center", color: ink, size: 14 });
  pen.text(word(state.rows), 9, area.y + area.height / 2, { align: "center", color: ink, size: 14, turn: -90 });
  colorBar(pen, scene);
}

// What lies under the cells: where there is no value, it shows.
function hatch(pen, area, surface, grid) {
  const tile = document.createElement("canvas");
  tile.width = Math.max(1, Math.round(area.width));
  tile.height = Math.max(1, Math.round(area.height));
  const context = tile.getContext("2d");
  context.fillStyle = surface;
  context.fillRect(0, 0, tile.width, tile.height);
  context.strokeStyle = grid;
  context.beginPath();
  for (let at = -tile.height; at < tile.width; at += 7) {
    context.moveTo(at, tile.height);
    context.lineTo(at + tile.height, 0);
  }
  context.stroke();
  pen.image(tile, area.x, area.y, area.width, area.height, area);
}

// Labels at round places, as many as fit: [place, text].
function spaced(ticks, from, to, pixels, room) {
  const wanted = ((to - from) * room) / pixels;
  let apart = ticks.apart;
  for (let turn = 0; apart < wanted && turn < 40; turn++) apart = ticks.apart * [1, 2, 5][turn % 3] * 10 ** Math.floor(turn / 3);
  return Object.entries(ticks.texts).map(([place, text]) => [Number(place), text])
    .filter(([place]) => place % apart === 0 && place + 0.5 >= from && place + 0.5 <= to);
}

function colorBar(pen, { layout: { area, bar: high }, state, setup, ink, muted, grid, surface, stops }) {
  const x = area.x + area.width + 18, wide = 14, y = area.y;
  const codes = Uint8Array.from({ length: 255 }, (_, at) => 255 - at);
  const clip = { x, y, width: wide, height: high };
  pen.image(imageOf(codes, [255, 1], stops), x, y, wide, high, clip, true);
  pen.box(x, y, wide, high, { stroke: grid });
  const [low, top] = state.limits, marks = ticks(low, top, Math.max(3, Math.min(5, high / 40)));
  let last = Infinity;
  for (const value of [...marks.places].sort((a, b) => a - b)) {
    const at = y + (1 - shareOf(value, state)) * high;
    if (last - at < 15 || at < y - 1 || at > y + high + 1) continue;
    last = at;
    pen.line(x + wide, at, x + wide + 4, at, { color: muted });
    pen.text(spell(value, marks.digits), x + wide + 7, at, { color: muted, size: 12 });
  }
  if (setup.units) pen.text(cut(setup.units, 14), x + wide + 64, y + high / 2, { align: "center", color: ink, size: 12, turn: -90 });
  if (state.missing) {
    hatch(pen, { x, y: y + high + 16, width: wide, height: 14 }, surface, grid);
    pen.box(x, y + high + 16, wide, 14, { stroke: muted });
    pen.text("no value", x + wide + 7, y + high + 23, { color: muted, size: 12 });
  }
}

// The cells that are chosen or pointed at, framed, with lines from the chosen one to the axes.
function drawMarks(pen, { layout: { area }, ink, surface }, { boxes, lines }) {
  const end = { x: area.x + area.width, y: area.y + area.height };
  const line = (x0, y0, x1, y1) => {
    pen.line(x0, y0, x1, y1, { color: surface, width: 3 });
    pen.line(x0, y0, x1, y1, { color: ink, width: 1 });
  };
  const inside = (place, from, to) => place !== null && place >= from && place <= to;
  if (lines && inside(lines.x, area.x, end.x)) {
    const x = Math.round(lines.x) + 0.5, { y, bottom } = lines.around ?? { y: area.y, bottom: area.y };
    if (y > area.y) line(x, area.y, x, Math.min(end.y, y));
    if (bottom < end.y) line(x, Math.max(area.y, bottom), x, end.y);
  }
  if (lines && inside(lines.y, area.y, end.y)) {
    const y = Math.round(lines.y) + 0.5, { x, right } = lines.around ?? { x: area.x, right: area.x };
    if (x > area.x) line(area.x, y, Math.min(end.x, x), y);
    if (right < end.x) line(Math.max(area.x, right), y, end.x, y);
  }
  for (const { x, y, right, bottom } of boxes) {
    if (right < area.x || x > end.x || bottom < area.y || y > end.y) continue;
    const size = [Math.max(5, right - x + 3), Math.max(5, bottom - y + 3)];
    pen.box(x - 1.5, y - 1.5, ...size, { stroke: surface, thick: 4 });
    pen.box(x - 1.5, y - 1.5, ...size, { stroke: ink, thick: 2 });
  }
}
