// Sorting, filtering and brushing. Without it the page says the same.
(() => {
  "use strict";
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const { axes } = JSON.parse(document.getElementById("facts").textContent);
  document.documentElement.classList.add("scripted");

  // Tables: a click on a heading sorts by it.
  const valueOf = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.v ?? cell.textContent.trim();
  };
  for (const table of all("table.sortable, table.board")) {
    all("thead th", table).forEach((heading, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      heading.append(button);
      button.addEventListener("click", () => {
        const down = heading.getAttribute("aria-sort") === "ascending";
        all("th", table).forEach((other) => other.removeAttribute("aria-sort"));
        heading.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = [...table.tBodies[0].rows];
        rows.sort((one, other) => {
          const [a, b] = [valueOf(one, column), valueOf(other, column)];
          const numbers = a !== "" && b !== "" && !isNaN(a) && !isNaN(b);
          return (numbers ? a - b : a.localeCompare(b)) * (down ? -1 : 1);
        });
        table.tBodies[0].append(...rows);
      });
    });
  }

  // Mistakes: of one class, or taken for one.
  const pick = document.getElementById("pick");
  if (pick) {
    const cards = all("#mistakes .card");
    const chosen = { true: "", said: "" };
    for (const [key, words] of [["true", "every true class"], ["said", "whatever was said"]]) {
      const select = document.createElement("select");
      select.setAttribute("aria-label", words);
      const names = [...new Set(cards.map((card) => card.dataset[key]))].sort();
      select.append(new Option(words, ""), ...names.map((name) => new Option(name, name)));
      select.addEventListener("change", () => {
        chosen[key] = select.value;
        for (const card of cards) {
          card.hidden = ["true", "said"].some((k) => chosen[k] && card.dataset[k] !== chosen[k]);
        }
      });
      pick.append(select);
    }
  }

  // Trials: what is marked in one place is marked in all of them.
  const rows = all("#board tr[data-trial]");
  if (!rows.length) return;
  const marks = all("[data-trial]");
  const clear = document.getElementById("clear");
  const find = document.getElementById("find");
  let marked = new Set();
  const show = (ids) => {
    marked = new Set(ids);
    document.body.classList.toggle("brushed", marked.size > 0);
    marks.forEach((mark) => mark.classList.toggle("on", marked.has(mark.dataset.trial)));
    clear.hidden = marked.size === 0;
  };
  const toggle = (id) => {
    const next = new Set(marked);
    if (!next.delete(id)) next.add(id);
    show(next);
  };
  const brushes = [];
  const reset = () => {
    brushes.forEach((brush) => brush.remove());
    find.value = "";
    show([]);
  };
  clear.addEventListener("click", reset);
  addEventListener("keydown", (event) => { if (event.key === "Escape") reset(); });
  marks.forEach((mark) => mark.addEventListener("click", () => toggle(mark.dataset.trial)));
  rows.forEach((row) => row.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); toggle(row.dataset.trial); }
  }));
  find.addEventListener("input", () => {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (row) => words.every((word) => row.textContent.toLowerCase().includes(word));
    show(words.length ? rows.filter(fits).map((row) => row.dataset.trial) : []);
  });

  // Dragging over a drawing: `found` names the trials within a rectangle of it.
  const brushing = (svg, shape, found) => {
    if (!svg) return;
    const at = (event) => new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const brush = document.createElementNS(svg.namespaceURI, "rect");
    brush.setAttribute("class", "brush");
    brushes.push(brush);
    let from = null;
    svg.style.touchAction = "pan-y";
    svg.addEventListener("pointerdown", (event) => { from = at(event); });
    addEventListener("pointermove", (event) => {
      if (!from) return;
      const to = at(event);
      if (Math.hypot(to.x - from.x, to.y - from.y) < 5) return;
      event.preventDefault();
      const [x, y, width, height] = shape(from, to);
      svg.append(brush);
      Object.entries({ x, y, width, height }).forEach(([name, value]) => brush.setAttribute(name, value));
      show(found(x, y, x + width, y + height));
    });
    addEventListener("pointerup", () => { from = null; });
  };
  const map = document.querySelector("svg.map");
  brushing(map,
    (a, b) => [Math.min(a.x, b.x), Math.min(a.y, b.y), Math.abs(a.x - b.x), Math.abs(a.y - b.y)],
    (left, top, right, bottom) => all("circle.trial", map)
      .filter(({ cx, cy }) => cx.baseVal.value >= left && cx.baseVal.value <= right
        && cy.baseVal.value >= top && cy.baseVal.value <= bottom)
      .map((circle) => circle.dataset.trial));
  const nearest = (x) => axes.reduce((best, axis) => (Math.abs(axis.x - x) < Math.abs(best.x - x) ? axis : best));
  brushing(document.querySelector("svg.parallel"),
    (a, b) => [nearest(a.x).x - 12, Math.min(a.y, b.y), 24, Math.abs(a.y - b.y)],
    (left, top, right, bottom) => {
      const axis = nearest(left + 12);
      return axis.trials.filter((_, number) => axis.y[number] >= top && axis.y[number] <= bottom);
    });
})();
