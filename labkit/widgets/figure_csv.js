// All numbers of a figure as rows of text: trace, x, y, value; of a figure with frames also which frame. The same rows as
// `labkit.widgets.export.numbers_of` gives. A heat map has its cells as values, a flow its links.
const TYPES = { i1: Int8Array, u1: Uint8Array, i2: Int16Array, u2: Uint16Array, i4: Int32Array, u4: Uint32Array, f4: Float32Array, f8: Float64Array };

// The shortest number that is this one in 32 bits.
function short32(value) {
  for (let digits = 6; digits < 10; digits++) {
    const tried = Number(value.toPrecision(digits));
    if (Math.fround(tried) === value) return tried;
  }
  return value;
}

function listOf(values) {
  if (values === undefined || values === null) return null;
  if (Array.isArray(values)) return values.some((one) => one?.bdata) ? values.map(listOf) : values;
  if (!values.bdata) return null;
  const raw = Uint8Array.from(atob(values.bdata), (one) => one.charCodeAt(0));
  const kind = values.dtype, flat = Array.from(new TYPES[kind](raw.buffer), (one) => (kind === "f4" && Number.isFinite(one) ? short32(one) : one));
  const shape = values.shape === undefined ? [] : String(values.shape).split(",").map(Number);
  if (shape.length < 2) return flat;
  return Array.from({ length: shape[0] }, (_, row) => flat.slice(row * shape[1], (row + 1) * shape[1]));
}

function plainWords(text) {
  const bare = String(text).replace(/<br>/g, " ").replace(/<[^>]*>/g, "");
  return bare.replace(/&lt;/g, "<").replace(/&gt;/g, ">").replace(/&amp;/g, "&");
}

const fieldOf = (value) => (typeof value === "string" ? plainWords(value) : value);

function traceRows(trace, place) {
  const name = plainWords(trace.name ?? `trace ${place + 1}`), x = listOf(trace.x), y = listOf(trace.y), z = listOf(trace.z);
  if (trace.link) {
    const labels = listOf(trace.node?.label) ?? [], [source, target, value] = ["source", "target", "value"].map((key) => listOf(trace.link[key]) ?? []);
    return value.map((one, at) => [name, fieldOf(labels[source[at]] ?? source[at]), fieldOf(labels[target[at]] ?? target[at]), one]);
  }
  if (Array.isArray(z) && Array.isArray(z[0]))
    return z.flatMap((line, row) => line.map((value, column) => [name, fieldOf(x ? x[column] : column), fieldOf(y ? y[row] : row), value]));
  const count = Math.max(x?.length ?? 0, y?.length ?? 0, z?.length ?? 0);
  return Array.from({ length: count }, (_, at) => [name, x ? fieldOf(x[at]) : at, y ? fieldOf(y[at]) : null, z ? z[at] : null]);
}

function figureRows({ data = [], layout = {}, frames = [] }) {
  if (!frames.length) return [["trace", "x", "y", "value"], ...data.flatMap(traceRows)];
  const slider = layout.sliders?.[0]?.steps ?? [], moving = new Set(frames.flatMap((frame) => frame.traces ?? [...data.keys()]));
  const labels = new Map(slider.map((step) => [String(step.args?.[0]?.[0]), step.label]));
  const still = data.flatMap((trace, at) => (moving.has(at) ? [] : traceRows(trace, at).map((row) => ["", ...row])));
  const shown = frames.flatMap((frame) => (frame.data ?? []).flatMap((change, at) => {
    const place = frame.traces?.[at] ?? at, label = labels.get(String(frame.name)) ?? frame.name;
    return traceRows({ ...data[place], ...change }, place).map((row) => [plainWords(label), ...row]);
  }));
  return [["frame", "trace", "x", "y", "value"], ...still, ...shown];
}
