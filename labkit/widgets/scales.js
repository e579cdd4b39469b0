// Reading the numbers of the curves, and the arithmetic of axes.
function bytes(value) {
  if (!value) return new Uint8Array(0);
  return value.buffer ? new Uint8Array(value.buffer, value.byteOffset, value.byteLength) : new Uint8Array(value);
}

function read(model) {
  const state = { series: [], ...JSON.parse(model.get("state") || "{}") };
  const values = new Float32Array(bytes(model.get("points")).slice().buffer);
  let from = 0;
  for (const line of state.series) {
    line.xs = values.subarray(from, from + line.count);
    line.ys = values.subarray(from + line.count, from + 2 * line.count);
    from += 2 * line.count;
    if (!line.band) continue;
    line.lows = values.subarray(from, from + line.count);
    line.highs = values.subarray(from + line.count, from + 2 * line.count);
    from += 2 * line.count;
  }
  return state;
}

function ticks(low, high, wanted, whole = false) {
  const rough = (high - low) / Math.max(1, wanted);
  const power = 10 ** Math.floor(Math.log10(rough));
  let step = [1, 2, 5, 10].find((one) => one * power >= rough * 0.999) * power;
  if (whole) step = Math.max(1, Math.round(step));
  const digits = Math.min(12, Math.max(0, -Math.floor(Math.log10(step) + 1e-9)));
  const places = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) places.push(k * step + 0);
  return { places, digits };
}

function spell(value, digits) {
  if (Math.abs(value) >= 1e7 || (value !== 0 && Math.abs(value) < 1e-5)) return value.toExponential(2);
  return value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

const exact = (value) => Number(value.toPrecision(6)).toLocaleString("en-US", { maximumFractionDigits: 12 });

// The place in the sorted `xs` that is nearest to x.
function nearest(xs, x) {
  let low = 0, high = xs.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (xs[middle] < x) low = middle + 1;
    else high = middle;
  }
  return low > 0 && x - xs[low - 1] <= xs[low] - x ? low - 1 : low;
}

function extent(lines, key) {
  let low = Infinity, high = -Infinity;
  for (const line of lines) for (const value of line[key]) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}

function scaled(lines, across, limits) {
  let [left, right] = extent(lines, "xs");
  left = Math.min(left, across?.[0] ?? left);
  right = Math.max(right, across?.[1] ?? right);
  if (left === right) [left, right] = across?.[0] === left ? [left, left + 1] : [left - 0.5, right + 0.5];
  let [low, high] = extent(lines, "ys");
  const air = 0.06 * (high - low) || 0.1 * Math.abs(high) || 0.1;
  low = Math.max(low - air, limits?.[0] ?? -Infinity);
  high = Math.min(high + air, limits?.[1] ?? Infinity);
  return { left, right, low, high: high > low ? high : low + 1 };
}
