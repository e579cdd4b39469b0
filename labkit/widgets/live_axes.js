// The frame of a live picture: where cells, bars and labels lie, how labels are thinned, and what is drawn around them.
const LABEL = 13;

// Half-precision number, from its sixteen bits.
function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1, power = (bits >> 10) & 0x1f, rest = bits & 0x3ff;
  if (power === 31) return rest ? NaN : sign * Infinity;
  return sign * (power ? 2 ** (power - 15) * (1 + rest / 1024) : 2 ** -14 * (rest / 1024));
}

// A value as people read it: three digits, shares as per cent.
function wording(value, state) {
  if (state.units === "fraction") return `${exact(Number((100 * value).toPrecision(3)))}\u00a0%`;
  return exact(Number(value.toPrecision(3))).replace("-", "\u2212");
}

const labelOf = (axis, place) => (axis.values ? axis.values[place] : axis.stride !== undefined ? axis.first + place * axis.stride : place);

// The words cut in their middle until they fit: names of layers differ at their ends.
function fitting(pen, words, most, size = LABEL) {
  if (pen.measure(words, size) <= most) return words;
  let low = 1, high = words.length;
  const cutTo = (kept) => `${words.slice(0, Math.ceil(kept / 2)).trimEnd()}…${words.slice(words.length - Math.floor(kept / 2)).trimStart()}`;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (pen.measure(cutTo(middle), size) <= most) low = middle;
    else high = middle - 1;
  }
  return cutTo(low);
}

const textsOf = (axis) => Object.values(axis.ticks.texts);
const widest = (pen, axis, most) => Math.min(most, Math.max(10, ...textsOf(axis).map((text) => pen.measure(text, LABEL))));

// How the labels below lie: side by side, or turned where every one is wanted and fits that way only.
function below(pen, axis, width, count) {
  const most = Math.min(150, Math.max(60, width / 3)), longest = widest(pen, axis, most), each = width / count;
  const turned = longest + 12 > each && each >= 15 && textsOf(axis).some((text) => /[^\d.,−-]/.test(text));
  return { turned, most, room: turned ? 15 : longest + 12, height: (turned ? longest : 16) + 12, half: turned ? 8 : longest / 2 };
}

function cellBox(pen, width, state) {
  const [rows, columns] = state.shape, [down, across] = state.axes;
  const plain = state.pictures, most = Math.min(260, 0.36 * width);
  const left = plain ? 2 : Math.ceil(widest(pen, down, most)) + 10 + 22;
  const high = plain ? 0 : rows === 1 ? 40 : Math.min(420, Math.max(rows * (rows <= 6 ? 34 : 20), 60));
  let wide = Math.min(width - left - 14, columns * 90);
  if (plain) wide = Math.min(wide, columns * 5, (460 / rows) * columns);
  const labels = plain ? { height: 0, half: 0 } : below(pen, across, wide, columns);
  if (!plain) wide = Math.min(wide, width - left - Math.max(14, Math.ceil(labels.half)));
  const area = { x: left, y: 8, width: Math.max(20, wide), height: plain ? (wide / columns) * rows : high };
  return { area, labels, most, height: Math.ceil(area.y + area.height + labels.height + (plain ? 8 : 24)) };
}

function barBox(pen, width, state) {
  const [, across] = state.axes, [low, high] = state.limits, marks = ticks(low, high, 4);
  const texts = marks.places.map((place) => wording(place, state));
  const left = Math.ceil(Math.max(...texts.map((text) => pen.measure(text, LABEL)))) + 10;
  let wide = Math.min(width - left - 14, state.shape[1] * 70);
  const labels = below(pen, across, wide, state.shape[1]);
  wide = Math.max(20, Math.min(wide, width - left - Math.max(14, Math.ceil(labels.half))));
  const area = { x: left, y: 30, width: wide, height: 190 };
  return { area, labels, marks, texts, height: Math.ceil(area.y + area.height + labels.height + 24) };
}

// Below: the labels of the columns, as many as fit, none beyond the edge of the canvas; and what they are.
function columnLabels(pen, { area, labels }, axis, count, colors, limit) {
  for (const [place, text] of spaced(axis.ticks, 0, count, area.width, labels.room)) {
    const x = area.x + ((place + 0.5) / count) * area.width, y = area.y + area.height, words = fitting(pen, text, labels.most);
    pen.line(x, y + 1, x, y + 5, { color: colors.muted });
    if (labels.turned) pen.text(words, x, y + 9, { align: "right", color: colors.muted, turn: -90 });
    else {
      const side = pen.measure(words, LABEL) / 2;
      pen.text(words, Math.min(Math.max(x, side), limit - side), y + 14, { align: "center", color: colors.muted });
    }
  }
  const word = fitting(pen, axis.word, limit - 8, 14), side = pen.measure(word, 14) / 2;
  const middle = Math.min(Math.max(area.x + area.width / 2, side + 2), limit - side - 2);
  pen.text(word, middle, area.y + area.height + labels.height + 10, { align: "center", color: colors.ink, size: 14 });
}

function cellAxes(pen, box, state, colors) {
  if (state.pictures) return;
  const { area, most } = box, [down, across] = state.axes, [rows, columns] = state.shape;
  for (const [place, text] of spaced(down.ticks, 0, rows, area.height, 16)) {
    const y = area.y + ((place + 0.5) / rows) * area.height;
    pen.line(area.x - 5, y, area.x - 1, y, { color: colors.muted });
    pen.text(fitting(pen, text, most), area.x - 8, y, { align: "right", color: colors.muted });
  }
  const high = Math.max(area.height, Math.min(box.height, area.height + 2 * area.y + 30));
  const word = fitting(pen, down.word, high, 14), half = pen.measure(word, 14) / 2;
  pen.text(word, 9, Math.max(area.y + area.height / 2, half + 2), { align: "center", color: colors.ink, size: 14, turn: -90 });
  columnLabels(pen, box, across, columns, colors, area.x + area.width + Math.max(14, box.labels.half));
}

function drawBars(pen, context, box, state, colors, value) {
  const { area, marks, texts } = box, [low, high] = state.limits, count = state.shape[1];
  const py = (number) => area.y + (1 - (number - low) / (high - low)) * area.height, zero = py(Math.max(low, Math.min(high, 0)));
  marks.places.forEach((place, at) => {
    const y = Math.round(py(place)) + 0.5;
    pen.line(area.x, y, area.x + area.width, y, { color: colors.grid });
    pen.text(texts[at], area.x - 7, y, { align: "right", color: colors.muted });
  });
  const each = area.width / count, gap = Math.min(8, each * 0.2);
  for (let at = 0; at < count; at++) {
    const number = value(at), x = area.x + at * each + gap / 2;
    if (Number.isNaN(number)) {
      const words = "no value";
      if (each > pen.measure(words, 12)) pen.text(words, x + (each - gap) / 2, zero - 10, { align: "center", color: colors.muted, size: 12 });
      continue;
    }
    const y = py(number);
    pen.box(x, Math.min(y, zero - (number >= 0 ? 1 : 0)), Math.max(0.5, each - gap), Math.max(1, Math.abs(zero - y)), { fill: colors.bar });
  }
  pen.line(area.x, Math.round(zero) + 0.5, area.x + area.width, Math.round(zero) + 0.5, { color: colors.muted });
  if (typeof state.even === "number" && state.even <= high) {
    const y = Math.round(py(state.even)) + 0.5;
    pen.line(area.x, y, area.x + area.width, y, { color: colors.surface, width: 5 });
    pen.line(area.x, y, area.x + area.width, y, { color: colors.even, width: 2.5, dash: [8, 5] });
  }
  const name = state.units && state.units !== "fraction" ? `${state.name} (${state.units})` : state.name;
  pen.text(fitting(pen, name[0].toUpperCase() + name.slice(1), area.x + area.width, 14), 0, 11, { color: colors.ink, size: 14 });
  columnLabels(pen, box, state.axes[1], count, colors, area.x + area.width + Math.max(14, box.labels.half));
}

// What was switched off: stripes where there is room for them, and a cross.
function drawOff(pen, context, { x, y, right, bottom }, { ink, surface }) {
  const [wide, high] = [right - x, bottom - y], middle = [(x + right) / 2, (y + bottom) / 2];
  if (Math.min(wide, high) >= 12) {
    context.save();
    context.beginPath();
    context.rect(x, y, wide, high);
    context.clip();
    for (let at = x - high; at < right; at += 9) {
      pen.line(at, bottom, at + high, y, { color: surface, width: 3 });
      pen.line(at, bottom, at + high, y, { color: ink, width: 1 });
    }
    context.restore();
  }
  const size = Math.max(4.5, Math.min(9, 0.35 * Math.min(wide, high)));
  for (const [color, width] of [[surface, 5], [ink, 2.2]]) {
    pen.line(middle[0] - size, middle[1] - size, middle[0] + size, middle[1] + size, { color, width });
    pen.line(middle[0] - size, middle[1] + size, middle[0] + size, middle[1] - size, { color, width });
  }
}
