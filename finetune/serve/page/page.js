"use strict";

const find = (id) => document.getElementById(id);
const MOST_SHOWN = 8;
let address = null; // of the image that is shown
let latest = 0; // an answer that comes late is not shown over a newer one

// Everything that came from elsewhere is set as text: a class may be called anything.
function tell(answer, seconds) {
  const names = Object.keys(answer.probabilities);
  const label = Array.isArray(answer.label) ? answer.label.join(", ") || "none of them" : answer.label;
  find("label").textContent = label === null ? "Not sure" : String(label);
  const rows = names.slice(0, MOST_SHOWN).map((name) => {
    const row = document.createElement("tr");
    const bar = document.createElement("progress");
    bar.max = 1;
    bar.value = answer.probabilities[name];
    const shown = (100 * answer.probabilities[name]).toFixed(1) + " %";
    for (const content of [name, bar, shown]) {
      row.insertCell().append(content);
    }
    return row;
  });
  find("classes").replaceChildren(...rows);
  const more = names.length - MOST_SHOWN;
  find("note").textContent =
    (more > 0 ? `${more} more are less probable. ` : "") + `Answered in ${seconds.toFixed(2)} s.`;
  find("answer").hidden = false;
}

function complain(reason) {
  find("answer").hidden = true;
  find("error").textContent = reason;
  find("error").hidden = false;
}

function show(file) {
  if (address !== null) URL.revokeObjectURL(address);
  address = URL.createObjectURL(file);
  const image = find("shown");
  image.src = address;
  image.alt = file.name || "the image";
  image.hidden = false;
  find("hint").hidden = true;
  image.onerror = () => { image.hidden = true; find("hint").hidden = false; };
}

async function classify(file) {
  const mine = ++latest;
  find("error").hidden = true;
  show(file);
  find("drop").classList.add("busy");
  const started = performance.now();
  try {
    const response = await fetch("predict", { method: "POST", body: file });
    const answer = await response.json();
    if (mine !== latest) return;
    if (response.ok) tell(answer, (performance.now() - started) / 1000);
    else complain(answer.error);
  } catch (error) {
    if (mine === latest) complain("The server does not answer: " + error.message);
  } finally {
    if (mine === latest) find("drop").classList.remove("busy");
  }
}

function first(items) {
  return [...items].find((file) => file.type.startsWith("image/")) ?? items[0] ?? null;
}

for (const id of ["file", "camera"]) {
  find(id).addEventListener("change", (event) => {
    const file = first(event.target.files);
    if (file) classify(file);
    event.target.value = ""; // the same file may be chosen again
  });
}

// Anywhere on the page: who misses the field by a little must not lose the page.
for (const kind of ["dragover", "drop"]) {
  document.addEventListener(kind, (event) => event.preventDefault());
}
document.addEventListener("dragover", () => find("drop").classList.add("over"));
for (const kind of ["dragleave", "drop"]) {
  document.addEventListener(kind, () => find("drop").classList.remove("over"));
}
document.addEventListener("drop", (event) => {
  const file = first(event.dataTransfer.files);
  if (file) classify(file);
  else complain("Drop an image file: a picture of another page is only a link.");
});
document.addEventListener("paste", (event) => {
  const file = first(event.clipboardData.files);
  if (file) classify(file);
});

fetch("model").then((response) => response.json()).then((model) => {
  const names = model.class_names;
  if (!names.length) return;
  const some = names.slice(0, 6).join(", ");
  find("about").textContent =
    `Drop an image, paste one, or choose a file. Known: ${some}` +
    (names.length > 6 ? ` and ${names.length - 6} more.` : ".");
}).catch(() => {});
