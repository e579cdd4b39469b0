globalThis.labkitPlotly ??= (() => {
  let give;
  const ready = new Promise((done) => (give = done));
  return { ready, give, started: false };
})();
