// The orders to Python. `command` is a queue of all that have no answer yet, so that two clicks at once both arrive; an
// order that a newer one makes needless (the same dial, the same handle) is taken out of it.
const FORGOTTEN = 120; // seconds after which an order without an answer is no longer sent again

function ordersOf(model, changed) {
  const waiting = new Map();
  const parsed = (name) => JSON.parse(model.get(name) || "[]");
  const list = (found) => (Array.isArray(found) ? found : [found]);
  const replaces = (newer, older) => newer.do === older.do && (newer.do === "view" || (newer.do === "change" && newer.name === older.name));
  let last = 0;

  function ask(order) {
    const now = Date.now();
    last = Math.max(last + 1, now * 1000 + Math.floor(Math.random() * 1000));
    const answered = new Set(parsed("answers").map((one) => one.id));
    const open = list(parsed("command")).filter((one) => !answered.has(one.id) && one.id / 1000 > now - FORGOTTEN * 1000);
    for (const one of open) if (replaces(order, one)) settle(one.id, { replaced: true });
    const sent = { id: last, ...order };
    const answer = new Promise((resolve) => waiting.set(sent.id, { resolve, since: now, order }));
    model.set("command", JSON.stringify([...open.filter((one) => !replaces(order, one)), sent]));
    model.save_changes();
    changed();
    return answer;
  }

  function settle(id, answer) {
    waiting.get(id)?.resolve(answer);
    waiting.delete(id);
  }

  function hear() {
    for (const one of parsed("answers")) if (waiting.has(one.id)) settle(one.id, one);
    changed();
  }

  model.on("change:answers", hear);
  return {
    ask,
    waits: (kind) => [...waiting.values()].some(({ order }) => order.do === kind),
    // since when the oldest order has been waiting, in ms since 1970; null when none does
    get since() {
      return waiting.size ? Math.min(...[...waiting.values()].map((one) => one.since)) : null;
    },
    forget: () => model.off("change:answers", hear),
  };
}
