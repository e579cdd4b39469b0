// Files to take away, made in the browser: nothing is uploaded, nothing is fetched.
function saveFile(name, content, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

function fileName(title, ending) {
  const plain = String(title || "picture").toLowerCase().replace(/<[^>]*>/g, " ").replace(/[^\p{L}\p{N}]+/gu, "_");
  return `${plain.replace(/^_+|_+$/g, "").slice(0, 60) || "picture"}.${ending}`;
}

// A missing number is an empty field; a text with a comma, a quote or a line break stands in quotes.
function csvField(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "";
  const text = typeof value === "boolean" ? (value ? "True" : "False") : String(value);
  return /[",\n\r]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
}

const csvText = (rows) => rows.map((row) => row.map(csvField).join(",") + "\n").join("");

// Bytes that zlib packed, unpacked.
async function inflated(packed) {
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
