// Light or dark is measured on the page behind the widget, so it holds in JupyterLab, Panel, VS Code and a plain page.
const PIXEL = document.createElement("canvas").getContext("2d", { willReadFrequently: true });

function opaque(color) {
  if (!color) return null; // of an element that is not on the page yet
  PIXEL.clearRect(0, 0, 1, 1);
  PIXEL.fillStyle = color;
  PIXEL.fillRect(0, 0, 1, 1);
  const [red, green, blue, alpha] = PIXEL.getImageData(0, 0, 1, 1).data;
  return alpha > 127 ? 0.2126 * red + 0.7152 * green + 0.0722 * blue : null;
}

function isDark(element) {
  for (let at = element; at; at = at.parentElement ?? at.getRootNode().host) {
    const light = opaque(getComputedStyle(at).backgroundColor);
    if (light !== null) return light < 128;
  }
  const scheme = getComputedStyle(document.documentElement).colorScheme;
  return scheme.includes("dark") && (!scheme.includes("light") || matchMedia("(prefers-color-scheme: dark)").matches);
}

// Calls back when the page may have changed its theme; again a little later, because stylesheets arrive late.
function watchTheme(callback) {
  let timers = [];
  const changed = () => {
    timers.forEach(clearTimeout);
    callback();
    timers = [150, 800, 2500].map((pause) => setTimeout(callback, pause));
  };
  const observer = new MutationObserver(changed);
  for (const element of [document.documentElement, document.body]) observer.observe(element, { attributes: true });
  const preference = matchMedia("(prefers-color-scheme: dark)");
  preference.addEventListener("change", changed);
  return () => {
    timers.forEach(clearTimeout);
    observer.disconnect();
    preference.removeEventListener("change", changed);
  };
}
