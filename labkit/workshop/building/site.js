// A page of the site: draws each picture when it comes into sight; plotly.js is loaded once, when the first figure needs it.
let plotlyAsked = false;
function askForPlotly() {
  if (plotlyAsked) return;
  plotlyAsked = true;
  const script = document.createElement("script");
  script.src = `${document.documentElement.dataset.root}assets/plotly.js`;
  script.onload = () => globalThis.labkitPlotly.give(globalThis.Plotly);
  document.head.append(script);
}

async function mount(section) {
  const values = JSON.parse(new TextDecoder().decode(await unpack(section.dataset.values)), (_, value) =>
    value?.bytes === undefined ? value : new DataView(Uint8Array.from(atob(value.bytes), (one) => one.charCodeAt(0)).buffer));
  const place = section.querySelector(".place"), kind = section.dataset.kind;
  if (kind === "figure") {
    askForPlotly();
    figure(values, place);
  } else if (kind === "array") widgets.array.render({ model: standIn(values), el: place });
  else painted(values, place, section.querySelector(".tools"));
  section.dataset.drawn = "";
}

const sight = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    sight.unobserve(entry.target);
    mount(entry.target);
  }
}, { rootMargin: "800px" });

for (const book of document.querySelectorAll(".book")) {
  const select = book.querySelector("select"), leaves = [...book.querySelectorAll(":scope > .leaf")];
  if (select) select.onchange = () => leaves.forEach((leaf, at) => (leaf.hidden = at !== select.selectedIndex));
}
document.getElementById("codes").onclick = (event) => {
  const away = document.body.classList.toggle("uncoded");
  event.target.textContent = away ? "Show the code" : "Hide the code";
};
themed(darkNow);
document.getElementById("theme").onclick = () => themed(!darkNow);
for (const section of document.querySelectorAll("section[data-kind]")) sight.observe(section);
globalThis.labkitModels = models;
