// Dials: a slider and a field for the exact number. What a person has just set is shown until Python has answered; then
// the value that Python says counts, so a refused one goes back by itself and says why.
const PLACES = 1000;
const SETTLING = 1500; // ms that the status may lag behind an answer

function dialsOf(parent, orders) {
  const grid = make("div", "dials", parent, { role: "group", "aria-label": "Dials" });
  const each = make("details", "each", parent), summary = make("summary", "summary", each);
  const parts = make("div", "dials", each, { role: "group", "aria-label": "Dials of single modules" });
  let rows = [], shape = "", serial = 0;

  function show(plan, status) {
    const dials = plan.dials ?? [], key = JSON.stringify(dials);
    if (key !== shape) {
      shape = key;
      const before = new Map(rows.map((row) => [row.dial.name, row]));
      rows = dials.map((dial) => {
        const known = before.get(dial.name);
        return known && JSON.stringify(known.dial) === JSON.stringify(dial) ? known : dialOf(dial);
      });
      fill(grid, rows.filter((row) => !row.dial.of));
      fill(parts, rows.filter((row) => row.dial.of));
      put(summary, `Each by itself (${parts.children.length} dial${parts.children.length === 1 ? "" : "s"})`);
    }
    [grid.hidden, each.hidden] = [!grid.children.length, !parts.children.length];
    const possible = plan.live !== false && !ENDED.includes(status.state);
    rows.forEach((row, at) => row.told(status.values?.[at] ?? null, possible));
  }

  function fill(place, them) {
    const wanted = them.map((row) => row.root);
    if (wanted.length !== place.children.length || wanted.some((one, at) => place.children[at] !== one)) place.replaceChildren(...wanted);
  }

  function dialOf(dial) {
    const floor = dial.log ? dial.floor || dial.high * 1e-4 : 0;
    const zero = dial.log && !(dial.low > 0); // then the left end is 0 and the rest begins at the floor
    const root = make("div", "dial", null), id = `labkit-deck-${Math.random().toString(36).slice(2)}-${serial++}`;
    const label = make("label", "label", root, { for: id }, spelled(dial.name));
    const slider = make("input", "slider", root, { type: "range", id, min: 0, max: sliderMax(), step: 1 });
    const field = make("input", "field", root, { type: "text", inputmode: "decimal", "aria-label": `${spelled(dial.name)}, exactly` });
    const unit = make("span", "unit", root, {}, dial.unit ?? "");
    const why = make("div", "why", root, { role: "alert", id: `${id}-why`, hidden: "" });
    const range = `From ${short(dial.low)} to ${short(dial.high)}${dial.unit ? ` ${dial.unit}` : ""}.`;
    const tip = make("div", "tip", root, { id: `${id}-tip`, role: "tooltip" }, `${dial.says ?? ""} ${range}`.trim());
    for (const one of [slider, field]) one.setAttribute("aria-describedby", `${tip.id} ${why.id}`);
    unit.hidden = !dial.unit;
    let held = false, own = null, settled = 0, value = null, possible = true, typing = false, count = 0;
    const send = paced((wanted) => change(wanted));

    function sliderMax() {
      return dial.whole && dial.high - dial.low <= PLACES ? dial.high - dial.low : PLACES;
    }
    const most = sliderMax();

    function placeOf(number) {
      if (number === null) return 0;
      if (!dial.log) return (most * (number - dial.low)) / (dial.high - dial.low || 1);
      if (number < floor) return 0;
      return Math.max(zero ? 1 : 0, (most * Math.log(number / floor)) / Math.log(dial.high / floor));
    }

    function valueOf(place) {
      if (place >= most) return dial.high;
      let number = dial.low + (place / most) * (dial.high - dial.low);
      if (dial.log) number = zero && place === 0 ? 0 : floor * (dial.high / floor) ** (place / most);
      return dial.whole ? Math.round(number) : place === 0 ? dial.low : Number(number.toPrecision(3));
    }

    async function change(wanted) {
      const turn = ++count;
      const answer = await orders.ask({ do: "change", name: dial.name, value: wanted });
      if (answer.replaced || turn !== count) return;
      settled = performance.now();
      refuse(answer.refused);
      if (answer.refused && !held) own = null;
      paint();
    }

    function refuse(words) {
      why.hidden = !words;
      put(why, words ?? "");
      for (const one of [slider, field]) words ? one.setAttribute("aria-invalid", "true") : one.removeAttribute("aria-invalid");
    }

    function paint() {
      const shown = own ?? value;
      if (!held) slider.value = placeOf(shown);
      slider.style.setProperty("--part", `${(100 * placeOf(shown)) / most}%`);
      slider.setAttribute("aria-valuetext", `${short(shown)} ${dial.unit ?? ""}`.trim());
      if (!typing) field.value = short(shown, 6);
      root.dataset.waiting = own !== null;
      for (const one of [slider, field]) one.disabled = !possible;
    }

    slider.addEventListener("input", () => {
      own = valueOf(Number(slider.value));
      settled = 0;
      refuse(null);
      send(own);
      paint();
    });
    slider.addEventListener("change", () => {
      own = valueOf(Number(slider.value));
      send(own, true);
    });
    slider.addEventListener("pointerdown", () => (held = true));
    for (const end of ["pointerup", "pointercancel", "lostpointercapture", "blur"]) slider.addEventListener(end, () => (held = false));

    function enter() {
      if (!typing) return;
      typing = false;
      const wanted = numberOf(field.value);
      if (field.value.trim() === short(own ?? value, 6)) return paint();
      if (!Number.isFinite(wanted)) {
        refuse(`“${field.value.trim()}” is no number. ${range}`);
        return paint();
      }
      own = wanted;
      settled = 0;
      refuse(null);
      send(wanted, true);
      paint();
    }
    field.addEventListener("input", () => (typing = true));
    field.addEventListener("blur", enter);
    field.addEventListener("keydown", (event) => {
      if (event.key === "Enter") enter();
      if (event.key === "Escape") {
        typing = false;
        refuse(null);
        paint();
        event.stopPropagation();
      }
    });
    // Python's word counts unless a finger holds the dial or an order is on its way.
    function told(number, may) {
      [value, possible] = [number, may];
      const near = own !== null && number !== null && Math.abs(number - own) <= 1e-6 * Math.max(Math.abs(own), 1e-12);
      if (own !== null && !held && settled && (near || performance.now() - settled > SETTLING)) own = null;
      paint();
    }

    return { dial, root, told };
  }

  return { show };
}

// "weight of load_balance" is said as people say it; the names of modules stay as they are.
const spelled = (name) => name.replace(/^[a-z_]+/, (word) => word.replace(/_/g, " ")).replace(/^./, (letter) => letter.toUpperCase());
