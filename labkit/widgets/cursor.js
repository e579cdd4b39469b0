// The cursor that pictures share: entries of axes. A picture sends only what a person did, as `moved`, and draws what
// it is told, as `cursor`; so nothing goes in circles.
const sameEntry = (one, other) => one === other || (one != null && other != null && String(one) === String(other));

// A text that is a number, as people write them (1,000 and a true minus), as that number.
function entryOf(text) {
  if (typeof text !== "string") return text;
  const plain = text.replace(/\u2212/g, "-").trim();
  if (/^-?\d{1,3}(,\d{3})+(\.\d+)?$/.test(plain)) return Number(plain.replace(/,/g, ""));
  return /^-?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(plain) ? Number(plain) : text;
}

// The place of the entry among these, or of the nearest number; -1 where there is none.
function placeOf(entries, wanted) {
  const found = entries.findIndex((one) => sameEntry(one, wanted));
  if (found >= 0 || typeof wanted !== "number") return found;
  let best = -1, distance = Infinity;
  entries.forEach((one, at) => {
    const away = typeof one === "number" ? Math.abs(one - wanted) : Infinity;
    if (away < distance) [best, distance] = [at, away];
  });
  return best;
}

// What a picture knows of the cursor: `own` is drawn at once, before Python has answered.
function cursorOf(model, changed) {
  let own = { ...(model.get("cursor") ?? {}) };
  const arrive = () => {
    own = { ...(model.get("cursor") ?? {}) };
    changed(own);
  };
  model.on("change:cursor", arrive);
  return {
    get places() { return own; },
    move(places) {
      const kept = Object.entries(places).filter(([axis, entry]) => !sameEntry(own[axis] ?? null, entry ?? null));
      if (!kept.length) return;
      own = { ...own, ...Object.fromEntries(kept) };
      const moved = { places: Object.fromEntries(kept), count: (model.get("moved")?.count ?? 0) + 1 };
      model.set("moved", moved);
      model.save_changes();
      changed(own);
    },
    forget: () => model.off("change:cursor", arrive),
  };
}
