// An event is told by its shape and its colour, each 10 x 10 around (0, 0).
const MARKS = {
  change: "M0-5 5 0 0 5-5 0z",
  intervention: "M-4.5-3-3-4.5 0-1.5 3-4.5 4.5-3 1.5 0 4.5 3 3 4.5 0 1.5-3 4.5-4.5 3-1.5 0z",
  undo: "M-5 0 1-4.5V-1.5H5V1.5H1V4.5z",
  branch: "M-1.2-5H1.2V-.6L4.4-4 5.6-2.6 1.2 2V5H-1.2z",
  trouble: "M0-5 5.4 4.5H-5.4z",
  interrupted: "M-4.5-4.5h9v9h-9z",
  note: "M0-4A4 4 0 1 1 0 4 4 4 0 1 1 0-4z",
};
// The name of the colour of each, as the stylesheets have it.
const MARK_INKS = { change: "accent", intervention: "violet", undo: "violet", branch: "good", trouble: "bad", interrupted: "warn", note: "muted" };
