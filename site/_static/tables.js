// Tables of the class "sortable": a click on a column's head sorts by it, a box above filters. No library, nothing fetched.
"use strict";

function sortKey(cell) {
  const text = cell ? cell.textContent.trim() : "";
  const number = text.replace(/,/g, "").match(/^[-+−]?\d+(\.\d+)?/);
  return { text: text.toLowerCase(), number: number ? parseFloat(number[0].replace("−", "-")) : null };
}

function compareKeys(a, b) {
  if (a.number !== null && b.number !== null) return a.number - b.number;
  if ((a.number === null) !== (b.number === null)) return a.number === null ? 1 : -1; // what has no number comes last
  return a.text.localeCompare(b.text);
}

function sortBy(table, column, head) {
  const falling = head.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", falling ? "descending" : "ascending");
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row, place) => ({ row, place, key: sortKey(row.cells[column]) }));
  rows.sort((a, b) => (falling ? compareKeys(b.key, a.key) : compareKeys(a.key, b.key)) || a.place - b.place);
  body.append(...rows.map((entry) => entry.row));
}

function filterBox(table) {
  const rows = [...table.tBodies[0].rows];
  if (rows.length < 12) return;
  const box = document.createElement("input");
  const shown = document.createElement("output");
  box.type = "search";
  box.placeholder = "Filter rows";
  box.setAttribute("aria-label", "Filter rows of this table");
  box.addEventListener("input", () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      count += row.hidden ? 0 : 1;
    }
    shown.textContent = words.length ? `${count} of ${rows.length} rows` : "";
  });
  const line = document.createElement("div");
  line.className = "table-filter";
  line.append(box, shown);
  (table.closest(".pst-scrollable-table-container") || table).before(line);
}

function clampLong(cell) {
  if (cell.textContent.length < 240 || cell.querySelector("details")) return;
  const text = document.createElement("div");
  const more = document.createElement("button");
  text.className = "clamped";
  text.append(...cell.childNodes);
  more.type = "button";
  more.className = "clamp-more";
  more.textContent = "more";
  more.addEventListener("click", () => {
    more.textContent = text.classList.toggle("clamped") ? "more" : "less";
  });
  cell.append(text, more);
}

document.addEventListener("DOMContentLoaded", () => {
  for (const table of document.querySelectorAll("table.sortable")) {
    if (!table.tHead || !table.tBodies.length) continue;
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      button.addEventListener("click", () => sortBy(table, column, head));
      head.append(button);
    });
    filterBox(table);
    table.querySelectorAll("tbody td").forEach(clampLong);
  }
});
