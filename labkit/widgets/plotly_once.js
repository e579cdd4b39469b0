// Loads plotly.js, whose text this hidden widget carries, once a page; figures wait for `globalThis.labkitPlotly.ready`.
export default {
  async initialize({ model }) {
    const slot = globalThis.labkitPlotly;
    if (slot.started) return;
    slot.started = true;
    const parts = ["const module = { exports: {} }, exports = module.exports;\n", model.get("text"), "\nexport default module.exports;"];
    const address = URL.createObjectURL(new Blob(parts, { type: "text/javascript" }));
    try {
      slot.give((await import(address)).default);
    } catch (error) {
      slot.started = false;
      console.error("labkit: plotly.js could not be loaded", error);
    } finally {
      URL.revokeObjectURL(address);
    }
  },
};
