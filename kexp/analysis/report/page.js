"use strict";
const numeric = (cell) => ("value" in cell.dataset ? Number(cell.dataset.value) : NaN);

function ordered(a, b) {
  if (!Number.isNaN(a.number) || !Number.isNaN(b.number)) {
    if (Number.isNaN(a.number)) return 1;
    if (Number.isNaN(b.number)) return -1;
    return a.number - b.number;
  }
  return a.text.localeCompare(b.text, "en", { numeric: true });
}

function sortBy(table, column, descending) {
  const body = table.tBodies[0];
  const keyed = Array.from(body.rows, (row) => {
    const cell = row.cells[column];
    return { row, number: numeric(cell), text: cell.textContent };
  });
  keyed.sort((a, b) => {
    const missing = (a.text === "–") - (b.text === "–");
    return missing || (descending ? -1 : 1) * ordered(a, b);
  });
  body.append(...keyed.map((key) => key.row));
}

function makeSortable(table) {
  const headers = Array.from(table.tHead.rows[0].cells);
  headers.forEach((header, column) => {
    header.querySelector("button").addEventListener("click", () => {
      const descending = header.getAttribute("aria-sort") === "ascending";
      headers.forEach((other) => other.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", descending ? "descending" : "ascending");
      sortBy(table, column, descending);
    });
  });
}

function makeFilterable(box) {
  const controls = box.querySelector(".controls");
  const rows = Array.from(box.querySelector("tbody").rows, (row) => ({
    row,
    text: row.textContent.toLowerCase(),
    cells: Array.from(row.cells, (cell) => cell.textContent),
  }));
  const search = controls.querySelector("input");
  const selects = Array.from(controls.querySelectorAll("select"));
  const count = controls.querySelector(".count");
  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/);
    const chosen = selects.filter((select) => select.value);
    let shown = 0;
    for (const { row, text, cells } of rows) {
      const fits =
        words.every((word) => text.includes(word)) &&
        chosen.every((select) => `=${cells[select.dataset.column]}` === select.value);
      row.hidden = !fits;
      shown += fits;
    }
    count.textContent = `${shown} of ${rows.length} runs shown`;
  };
  controls.addEventListener("input", filter);
  controls.hidden = false;
  filter();
}

function openLongLists(open) {
  for (const list of document.querySelectorAll("details.long")) list.open = open;
}

addEventListener("beforeprint", () => openLongLists(true));
addEventListener("afterprint", () => openLongLists(false));
for (const box of document.querySelectorAll(".runs")) {
  makeSortable(box.querySelector("table"));
  makeFilterable(box);
}
