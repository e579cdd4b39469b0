// The same few drawing calls for a canvas and for an SVG file, so that both show one picture.
function canvasPen(context, family) {
  const font = (size, weight) => `${weight} ${size}px ${family}`;
  return {
    measure(words, size = 13, weight = 400) {
      context.font = font(size, weight);
      return context.measureText(words).width;
    },
    text(words, x, y, { align = "left", color, size = 13, weight = 400, turn = 0 }) {
      context.save();
      context.translate(x, y);
      context.rotate((turn * Math.PI) / 180);
      context.font = font(size, weight);
      Object.assign(context, { fillStyle: color, textAlign: align, textBaseline: "middle" });
      context.fillText(words, 0, 0);
      context.restore();
    },
    line(x0, y0, x1, y1, { color, width = 1, dash = [] }) {
      context.save();
      context.beginPath();
      context.setLineDash(dash);
      context.moveTo(x0, y0);
      context.lineTo(x1, y1);
      Object.assign(context, { strokeStyle: color, lineWidth: width });
      context.stroke();
      context.restore();
    },
    box(x, y, width, height, { fill, stroke, thick = 1 }) {
      Object.assign(context, { fillStyle: fill, strokeStyle: stroke, lineWidth: thick });
      if (fill) context.fillRect(x, y, width, height);
      if (stroke) context.strokeRect(x, y, width, height);
    },
    image(picture, x, y, width, height, clip, smooth = false) {
      context.save();
      context.beginPath();
      context.rect(clip.x, clip.y, clip.width, clip.height);
      context.clip();
      context.imageSmoothingEnabled = smooth;
      context.drawImage(picture, x, y, width, height);
      context.restore();
    },
  };
}

const escaped = (words) => String(words).replace(/&/g, "&amp;").replace(/[<]/g, "&lt;").replace(/"/g, "&quot;");

function svgPen(width, height, family, measure) {
  const parts = [];
  let clips = 0;
  const anchors = { left: "start", center: "middle", right: "end" };
  const put = (text) => parts.push(text);
  return {
    measure,
    text(words, x, y, { align = "left", color, size = 13, weight = 400, turn = 0 }) {
      const turned = turn ? ` transform="rotate(${turn} ${x} ${y})"` : "";
      put(`<text x="${x}" y="${y}" fill="${color}" font-size="${size}" font-weight="${weight}" text-anchor="${anchors[align]}" dominant-baseline="central"${turned}>${escaped(words)}</text>`);
    },
    line(x0, y0, x1, y1, { color, width: thick = 1, dash = [] }) {
      put(`<line x1="${x0}" y1="${y0}" x2="${x1}" y2="${y1}" stroke="${color}" stroke-width="${thick}" stroke-dasharray="${dash.join(" ")}"/>`);
    },
    box(x, y, wide, high, { fill, stroke, thick = 1 }) {
      put(`<rect x="${x}" y="${y}" width="${wide}" height="${high}" fill="${fill ?? "none"}" stroke="${stroke ?? "none"}" stroke-width="${thick}"/>`);
    },
    image(picture, x, y, wide, high, clip) {
      const name = `clip${clips++}`;
      put(`<clipPath id="${name}"><rect x="${clip.x}" y="${clip.y}" width="${clip.width}" height="${clip.height}"/></clipPath>`);
      put(`<image clip-path="url(#${name})" x="${x}" y="${y}" width="${wide}" height="${high}" preserveAspectRatio="none" style="image-rendering:pixelated" href="${picture.toDataURL("image/png")}"/>`);
    },
    finish(title, surface) {
      return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="${escaped(family)}" role="img"><title>${escaped(title)}</title><rect width="100%" height="100%" fill="${surface}"/>${parts.join("")}</svg>`;
    },
  };
}
