// The names of the curves, each a switch with its last value; behind them the tools: single seeds, logarithm, smoothing.
const SVG = "http://www.w3.org/2000/svg";
const WINDOWS = [1, 5, 25, 125];

function make(tag, name, parent, attributes = {}) {
  const element = document.createElement(tag);
  element.className = `labkit-curve-${name}`;
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  parent.append(element);
  return element;
}

function legendOf(legend, tools, model, hidden, chosen, changed) {
  let shown = "";

  function show(entries, state, color, digits) {
    const key = JSON.stringify([entries.map((line) => [line.name, color(line), line.dash, line.band]), [...hidden]]);
    if (key !== shown) {
      shown = key;
      const focus = [...legend.children].indexOf(legend.getRootNode().activeElement);
      legend.replaceChildren(...entries.map((line) => entry(line, color)));
      legend.children[focus]?.focus();
    }
    entries.forEach((line, place) => {
      const end = line.count ? line.ys[line.count - 1] : NaN;
      const last = !Number.isFinite(end) ? "–" : digits === null ? exact(Number(end.toPrecision(3))) : spell(end, digits);
      const value = legend.children[place].lastChild;
      if (value.textContent !== last) value.textContent = last;
    });
    const bands = entries.some((line) => line.band), singles = bands && state.series.some((line) => line.faint && line.of);
    seeds.hidden = !singles;
    says.hidden = !bands;
    log.hidden = !state.tools;
    smooth.hidden = !state.smooths;
    tools.hidden = seeds.hidden && says.hidden && log.hidden && smooth.hidden;
    for (const [one, pressed] of [[seeds, chosen.seeds], [log, chosen.log]]) {
      if (one.hidden) one.removeAttribute("aria-pressed");
      else one.setAttribute("aria-pressed", pressed);
    }
    select.value = model.get("smooth") ?? 1;
  }

  function entry(line, color) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "labkit-curve-entry";
    button.setAttribute("aria-pressed", !hidden.has(line.name));
    button.title = `Show or hide ${line.name}`;
    const swatch = document.createElementNS(SVG, "svg"), path = document.createElementNS(SVG, "path");
    swatch.setAttribute("viewBox", "0 0 34 10");
    path.setAttribute("d", "M1 5H33");
    path.setAttribute("stroke", color(line));
    path.setAttribute("stroke-dasharray", DASHES[line.dash]?.join(" ") ?? "");
    if (line.band) {
      const band = document.createElementNS(SVG, "path");
      band.setAttribute("d", "M1 0H33V10H1z");
      band.setAttribute("style", `fill: ${color(line)}; stroke: none; opacity: 0.18`);
      swatch.append(band);
    }
    swatch.append(path);
    button.append(swatch, Object.assign(document.createElement("span"), { textContent: line.name }), document.createElement("b"));
    button.onclick = () => {
      if (!hidden.delete(line.name)) hidden.add(line.name);
      changed();
    };
    return button;
  }

  function tool(words, says, act) {
    const button = make("button", "tool", tools, { type: "button", title: says });
    button.textContent = words;
    button.onclick = act;
    return button;
  }

  const says = make("span", "says", tools);
  says.textContent = "Band: from the lowest to the highest seed.";
  const seeds = tool("Single seeds", "Show each seed as a thin line", () => {
    chosen.seeds = !chosen.seeds;
    changed();
  });
  const log = tool("Logarithmic", "Equal ratios become equal heights; only values above zero have a place", () => {
    chosen.log = !chosen.log;
    changed();
  });
  const smooth = make("label", "smooth", tools);
  smooth.append("Smooth over ");
  const select = make("select", "select", smooth);
  for (const window of WINDOWS) {
    const option = make("option", "option", select, { value: window });
    option.textContent = window === 1 ? "nothing" : `${window} values`;
  }
  select.onchange = () => {
    model.set("smooth", Number(select.value));
    model.save_changes();
  };
  return { show };
}
