// Where the curves lie on the canvas: the ends of both axes, their numbers, and the functions from values to pixels.
function frameOf(lines, width, height, state, log, measure) {
  const found = log ? scaledByRatio(lines, state) : scaled([...lines, ...lines.filter((line) => line.band).flatMap((line) => [{ xs: [], ys: line.lows }, { xs: [], ys: line.highs }])], state.across, state.limits);
  const across = ticks(found.left, found.right, Math.max(2, width / 110), Number.isInteger(found.left));
  const down = log ? ratioTicks(found.low, found.high) : ticks(found.low, found.high, 5);
  const labels = down.places.map((place) => (log ? plain(place) : spell(place, down.digits)));
  const room = Math.ceil(Math.max(...labels.map(measure), 20)) + 12, top = state.events?.length ? 40 : 30;
  const area = { x: room, y: top, width: width - room - 18, height: height - top - 46 };
  const px = (x) => area.x + ((x - found.left) / (found.right - found.left)) * area.width;
  const part = log ? (y) => Math.log(y / found.low) / Math.log(found.high / found.low) : (y) => (y - found.low) / (found.high - found.low);
  const py = (y) => (log && !(y > 0) ? NaN : area.y + (1 - part(y)) * area.height);
  return { ...found, across, down, labels, area, px, py };
}

// On a logarithmic axis only what is above zero has a place.
function scaledByRatio(lines, state) {
  const positive = lines.flatMap((line) => [line.ys, line.lows ?? [], line.highs ?? []].map((ys) => ({ xs: line.xs, ys: Array.from(ys).filter((y) => y > 0) })));
  const { left, right } = scaled(lines, state.across, state.limits);
  let [low, high] = extent(positive, "ys");
  if (!(low <= high)) [low, high] = [0.1, 1];
  const air = Math.max(1.05, (high / low) ** 0.06);
  return { left, right, low: low / air, high: high * air };
}

function ratioTicks(low, high) {
  const decades = Math.log10(high / low);
  if (decades < 0.8) return { places: ticks(low, high, 5).places.filter((one) => one >= low && one > 0) };
  const every = Math.ceil(decades / 6), parts = decades < 2.5 ? [1, 2, 5] : decades < 4 ? [1, 3] : [1];
  const places = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    if (power % every === 0) places.push(...parts.map((one) => Number((one * 10 ** power).toPrecision(3))));
  }
  return { places: places.filter((one) => one >= low && one <= high) };
}

const plain = (value) => (Math.abs(value) < 1e-4 || Math.abs(value) >= 1e6 ? value.toExponential().replace("e+", "e") : exact(value));

function drawAxes(context, box, state, paint) {
  const { area, across, down, labels, px, py } = box;
  context.lineWidth = 1;
  context.strokeStyle = paint("grid");
  context.fillStyle = paint("muted");
  context.textBaseline = "middle";
  context.textAlign = "right";
  context.beginPath();
  down.places.forEach((place, at) => {
    const y = Math.round(py(place)) + 0.5;
    context.moveTo(area.x, y);
    context.lineTo(area.x + area.width, y);
    context.fillText(labels[at], area.x - 8, y);
  });
  context.moveTo(area.x, Math.round(area.y + area.height) + 0.5);
  context.lineTo(area.x + area.width, Math.round(area.y + area.height) + 0.5);
  context.stroke();
  context.textAlign = "center";
  // no number under the label of the step that is looked at
  const viewed = Number.isFinite(state.cursor) && state.cursor !== null ? px(state.cursor) : -Infinity;
  const wide = context.measureText(`${state.x ?? ""} ${exact(state.cursor ?? 0)}`).width / 2 + 20;
  for (const place of across.places) {
    if (Math.abs(px(place) - viewed) > wide) context.fillText(spell(place, across.digits), px(place), area.y + area.height + 15);
  }
  context.fillStyle = paint("ink");
  context.fillText(state.x ?? "", area.x + area.width / 2, area.y + area.height + 36);
  context.textAlign = "left";
  context.fillText(state.y ?? "", 0, 10);
}
