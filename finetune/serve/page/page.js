"use strict";

const find = (id) => document.getElementById(id);
const MOST_SHOWN = 8;
let address = null; // of the image that is shown
let latest = 0; // an answer that comes late is not shown over a newer one
// What the server says of its model; without that there are no maps.
const known = fetch("model").then((response) => response.json()).catch(() => ({}));
const VEIL = 0.75; // how dark an image is where nothing speaks for its class
const MAP_SIDE = 640; // pixels of the veil at most

// Everything that came from elsewhere is set as text: a class may be called anything.
function tell(answer, seconds) {
  const names = Object.keys(answer.probabilities);
  const label = Array.isArray(answer.label) ? answer.label.join(", ") || "none of them" : answer.label;
  find("label").textContent = label === null ? "Not sure" : String(label);
  const doubt = answer.doubt ?? null;
  find("label").classList.toggle("novel", doubt?.novel === true);
  if (doubt?.novel) {
    find("label").textContent = "Like nothing it was trained on";
  } else if (doubt?.set?.length > 1) {
    find("label").textContent = doubt.said.charAt(0).toUpperCase() + doubt.said.slice(1);
  }
  find("doubt").textContent = explained(doubt, names);
  find("doubt").hidden = !find("doubt").textContent;
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

// The part of an image that the model saw, in the image's own pixels: with its white bars where it
// was padded, its middle where it was cropped.
function seenPart(model, width, height) {
  const [rows, columns] = model.image_size;
  if (model.resize === "squash") return [0, 0, width, height];
  const choose = model.resize === "pad" ? Math.min : Math.max;
  const scale = choose(columns / width, rows / height);
  const [across, down] = [columns / scale, rows / scale];
  return [(width - across) / 2, (height - down) / 2, across, down];
}

// Draws a veil over what does not speak for the class.
function shade(model, strengths) {
  const image = find("shown");
  const canvas = find("map");
  const largest = Math.max(...strengths.flat(), Number.MIN_VALUE);
  const small = document.createElement("canvas");
  [small.width, small.height] = [strengths[0].length, strengths.length];
  const pixels = small.getContext("2d").createImageData(small.width, small.height);
  strengths.flat().forEach((strength, place) => {
    pixels.data[4 * place + 3] = 255 * VEIL * (1 - Math.max(strength, 0) / largest);
  });
  small.getContext("2d").putImageData(pixels, 0, 0);
  const scale = Math.min(1, MAP_SIDE / Math.max(image.naturalWidth, image.naturalHeight));
  canvas.width = Math.max(1, Math.round(image.naturalWidth * scale));
  canvas.height = Math.max(1, Math.round(image.naturalHeight * scale));
  const pen = canvas.getContext("2d");
  const part = seenPart(model, image.naturalWidth, image.naturalHeight).map((value) => value * scale);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(small, ...part);
  // What was cut off did not count at all.
  pen.fillStyle = `rgba(0, 0, 0, ${VEIL})`;
  const [left, top, across, down] = part.map(Math.round);
  pen.fillRect(0, 0, left, canvas.height);
  pen.fillRect(left + across, 0, canvas.width, canvas.height);
  pen.fillRect(0, 0, canvas.width, top);
  pen.fillRect(0, top + down, canvas.width, canvas.height);
}

async function tellWhere(model, answer, mine) {
  const name = Object.keys(answer.probabilities)[0];
  find("lit").textContent = name === undefined ? "" : ` for ${name}`;
  find("looked").hidden = !answer.activation_map;
  if (!answer.activation_map) return;
  try {
    await find("shown").decode();
  } catch {
    find("looked").hidden = true; // an image that the model can read and the browser cannot
    return;
  }
  if (mine !== latest) return;
  shade(model, answer.activation_map);
  find("map").hidden = !find("mapped").checked;
}

// Why the answer is not simply the most probable class.
function explained(doubt, names) {
  if (doubt?.novel && names.length) return `If it has to be one of its classes: ${names[0]}.`;
  if (doubt?.set?.length > 1) {
    return "In 95 of 100 pictures like those of the training the right class is among those named.";
  }
  return "";
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
  find("frame").hidden = false;
  find("map").hidden = true;
  find("looked").hidden = true;
  find("hint").hidden = true;
  image.onerror = () => { find("frame").hidden = true; find("hint").hidden = false; };
}

async function classify(file) {
  const mine = ++latest;
  find("error").hidden = true;
  show(file);
  find("drop").classList.add("busy");
  const started = performance.now();
  try {
    const model = await known;
    const asked = model?.activation_map ? "predict?map=1" : "predict";
    const response = await fetch(asked, { method: "POST", body: file });
    const answer = await response.json();
    if (mine !== latest) return;
    if (response.ok) {
      tell(answer, (performance.now() - started) / 1000);
      await tellWhere(model, answer, mine);
    } else complain(answer.error);
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

find("mapped").addEventListener("change", (event) => {
  find("map").hidden = !event.target.checked;
});

known.then((model) => {
  const names = model.class_names;
  if (!names?.length) return;
  const some = names.slice(0, 6).join(", ");
  find("about").textContent =
    `Drop an image, paste one, or choose a file. Known: ${some}` +
    (names.length > 6 ? ` and ${names.length - 6} more.` : ".");
});
