// What is drawn between the axes: bands, lines with their gaps, forks, dots, events, and the step that is looked at.
const DASHES = { solid: [], dash: [8, 5], dot: [2, 4], dashdot: [8, 4, 2, 4], longdash: [14, 5], longdashdot: [14, 4, 2, 4] };

function inside(context, box, draw) {
  context.save();
  context.beginPath();
  context.rect(box.area.x - 4, box.area.y - 4, box.area.width + 8, box.area.height + 8);
  context.clip();
  draw();
  context.restore();
}

function drawLine(context, box, line, ink, width, alpha) {
  inside(context, box, () => {
    Object.assign(context, { globalAlpha: alpha, strokeStyle: ink, lineWidth: width, lineJoin: "round" });
    context.setLineDash(line.faint ? [] : DASHES[line.dash] ?? []);
    context.beginPath();
    let pen = false;
    for (let at = 0; at < line.count; at++) {
      const y = box.py(line.ys[at]);
      if (!Number.isFinite(y)) pen = false;
      else if (pen) context.lineTo(box.px(line.xs[at]), y);
      else {
        context.moveTo(box.px(line.xs[at]), y);
        pen = true;
      }
    }
    context.stroke();
  });
}

function drawBand(context, box, line, ink) {
  const low = (at) => (Number.isFinite(box.py(line.lows[at])) ? box.py(line.lows[at]) : box.area.y + box.area.height);
  inside(context, box, () => {
    Object.assign(context, { globalAlpha: 0.18, fillStyle: ink });
    for (let from = 0; from < line.count; from++) {
      if (!Number.isFinite(line.highs[from])) continue;
      let to = from;
      while (to + 1 < line.count && Number.isFinite(line.highs[to + 1])) to++;
      context.beginPath();
      for (let at = from; at <= to; at++) context.lineTo(box.px(line.xs[at]), box.py(line.highs[at]));
      for (let at = to; at >= from; at--) context.lineTo(box.px(line.xs[at]), low(at));
      context.fill();
      from = to;
    }
  });
}

// From the point of the parent at which the branch begins to its first own value.
function drawFork(context, box, line, ink, surface) {
  const [x, y] = [box.px(line.fork[0]), box.py(line.fork[1])];
  if (!Number.isFinite(y)) return;
  inside(context, box, () => {
    Object.assign(context, { strokeStyle: ink, lineWidth: 1.5 });
    if (line.count && Number.isFinite(box.py(line.ys[0]))) {
      context.beginPath();
      context.moveTo(x, y);
      context.lineTo(box.px(line.xs[0]), box.py(line.ys[0]));
      context.stroke();
    }
    context.beginPath();
    context.arc(x, y, 4, 0, 2 * Math.PI);
    context.fillStyle = surface;
    context.fill();
    context.stroke();
  });
}

function drawDot(context, box, line, at, radius, ink, surface) {
  const y = box.py(line.ys[at]);
  if (!Number.isFinite(y)) return;
  context.beginPath();
  context.arc(box.px(line.xs[at]), y, radius, 0, 2 * Math.PI);
  Object.assign(context, { fillStyle: ink, strokeStyle: surface, lineWidth: 1.5 });
  context.fill();
  context.stroke();
}

function drawUpright(context, box, x, ink, width, dash = []) {
  context.save();
  context.setLineDash(dash);
  Object.assign(context, { strokeStyle: ink, lineWidth: width });
  context.beginPath();
  context.moveTo(Math.round(x) + 0.5, box.area.y);
  context.lineTo(Math.round(x) + 0.5, box.area.y + box.area.height);
  context.stroke();
  context.restore();
}

function drawEvents(context, box, events, paint, near) {
  for (const event of events) {
    const x = box.px(event.step), ink = paint(MARK_INKS[event.kind] ?? "muted"), strong = near.includes(event);
    if (!(x >= box.area.x - 1 && x <= box.area.x + box.area.width + 1)) continue;
    context.save();
    context.globalAlpha = strong ? 1 : 0.4;
    drawUpright(context, box, x, ink, 1, [3, 4]);
    context.globalAlpha = 1;
    context.translate(x, box.area.y - 9);
    if (strong) context.scale(1.35, 1.35);
    Object.assign(context, { fillStyle: ink, strokeStyle: paint("surface"), lineWidth: 1 });
    const mark = new Path2D(MARKS[event.kind] ?? MARKS.note);
    context.stroke(mark);
    context.fill(mark);
    context.restore();
  }
}

// The step that the pictures beside the curves show.
function drawViewed(context, box, state, paint) {
  const x = box.px(state.cursor), right = box.area.x + box.area.width;
  if (!(x >= box.area.x - 1 && x <= right + 1)) return;
  drawUpright(context, box, x, paint("accent"), 2);
  const words = `${(state.x || "x").toLowerCase()} ${exact(state.cursor)}`, wide = context.measureText(words).width + 12;
  const left = Math.min(Math.max(x - wide / 2, box.area.x), right - wide), y = box.area.y + box.area.height;
  context.save();
  context.fillStyle = paint("accent");
  context.beginPath();
  context.roundRect(left, y + 4, wide, 20, 5);
  context.fill();
  Object.assign(context, { fillStyle: paint("surface"), textAlign: "center", textBaseline: "middle" });
  context.fillText(words, left + wide / 2, y + 14.5);
  context.restore();
}
