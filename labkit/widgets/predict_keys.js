// The guess as values at equal distances, null where nothing is drawn, and the two ways to change it: strokes and keys.
function guessOf(values, y, changed) {
  const last = values.length - 1, range = y.high - y.low;
  const held = (value) => Math.min(y.high, Math.max(y.low, value));

  // The value between the neighbours that are drawn; the middle of the axis where there are none.
  function between(at) {
    let left = at, right = at;
    while (left >= 0 && values[left] === null) left--;
    while (right <= last && values[right] === null) right++;
    if (left < 0 && right > last) return (y.low + y.high) / 2;
    if (left < 0) return values[right];
    if (right > last || left === right) return values[left];
    return values[left] + ((at - left) / (right - left)) * (values[right] - values[left]);
  }

  return {
    values,
    between,
    count: () => values.filter((value) => value !== null).length,
    // One stroke from a place to another, straight between them, or wiping there.
    stroke(from, to, wipe) {
      const first = Math.round(Math.min(from.at, to.at)), end = Math.round(Math.max(from.at, to.at));
      for (let at = Math.max(0, first); at <= Math.min(last, end); at++) {
        const share = from.at === to.at ? 1 : (at - from.at) / (to.at - from.at);
        values[at] = wipe ? null : held(from.value + Math.min(1, Math.max(0, share)) * (to.value - from.value));
      }
      changed();
    },
    // What a key does at a place; the place afterwards, or null for a key that is none of ours.
    press(key, fast, at) {
      const step = range / (fast ? 20 : 100);
      const lift = { ArrowUp: step, ArrowDown: -step, PageUp: range / 10, PageDown: -range / 10 }[key];
      if (lift !== undefined) {
        values[at] = held((values[at] ?? between(at)) + lift);
        changed();
        return at;
      }
      if (key === "Delete" || key === "Backspace") {
        values[at] = null;
        changed();
        return at;
      }
      const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last }[key];
      return to === undefined ? null : Math.min(last, Math.max(0, to));
    },
  };
}
