// Asks Python, one question of a kind at a time: a picture by `wanted` and `seq`, exact numbers by `asked` and `told`.
const SILENCE = 2000;

function remoteArray(model) {
  let count = Math.floor(Math.random() * 2 ** 40), waiting = null; // two views of one widget hear only their own answers
  const told = () => {
    const answer = JSON.parse(model.get("told") || "{}");
    if (!waiting || answer.count !== waiting.count) return;
    const { done, kind } = waiting;
    waiting = null;
    if (kind !== "numbers") return done(answer);
    done({ ...answer, values: new Float64Array(bytes(model.get("numbers")).slice().buffer) });
  };
  model.on("change:told", told);

  // Resolves with null where a newer question took its place, or where Python is busy for long.
  function ask(kind, asked, patience = SILENCE) {
    waiting?.done(null);
    return new Promise((done) => {
      const mine = { count: ++count, kind, done };
      waiting = mine;
      model.set("asked", JSON.stringify({ ...asked, kind, count }));
      model.save_changes();
      setTimeout(() => {
        if (waiting !== mine) return;
        waiting = null;
        done(null);
      }, patience);
    });
  }

  return {
    cell: (asked) => ask("cell", asked),
    numbers: (asked) => ask("numbers", asked, 20000),
    forget: () => model.off("change:told", told),
  };
}
