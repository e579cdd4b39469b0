// What is visible as a table of at most 24 x 12 numbers, evenly spread.
const spread = (count, most) => {
  const kept = Math.min(count, most);
  return [...new Set(Array.from({ length: kept }, (_, at) => Math.round((at * (count - 1)) / Math.max(1, kept - 1))))];
};

function numberTable(found, caption, corner) {
  const rows = spread(found.rows.length, 24), columns = spread(found.columns.length, 12), grid = document.createElement("table");
  const all = rows.length * columns.length === found.values.length;
  const rest = all ? "" : ` The table has ${rows.length} of ${found.rows.length} rows and ${columns.length} of ${found.columns.length} columns; the CSV file has all.`;
  grid.className = "labkit-array-table";
  grid.createCaption().textContent = `${caption}${rest}`;
  const put = (line, tag, text, scope) => {
    const made = Object.assign(document.createElement(tag), { textContent: text });
    if (scope) made.scope = scope;
    line.append(made);
  };
  const head = grid.createTHead().insertRow(), body = grid.createTBody();
  put(head, "th", corner, "col");
  for (const column of columns) put(head, "th", found.columns[column], "col");
  for (const row of rows) {
    const line = body.insertRow();
    put(line, "th", found.rows[row], "row");
    for (const column of columns) put(line, "td", rough(found.values[row * found.columns.length + column]));
  }
  return grid;
}

function numberFile(found, rows, columns) {
  const width = found.columns.length;
  const lines = Array.from(found.values, (value, at) => [found.rows[Math.floor(at / width)], found.columns[at % width], value]);
  return csvText([[rows, columns, "value"], ...lines]);
}
