"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], rows = [...body.rows];
  const key = (row, i) => {
    const cell = row.cells[i], value = cell.dataset.sort ?? cell.innerText.trim();
    return value !== "" && isFinite(value) ? Number(value) : value;
  };
  [...table.tHead.rows[0].cells].forEach((head, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.ariaSort === "ascending";
      for (const other of table.tHead.rows[0].cells) other.ariaSort = null;
      head.ariaSort = down ? "descending" : "ascending";
      const order = (a, b) => typeof a === typeof b ? (a > b) - (a < b) : typeof a === "number" ? -1 : 1;
      rows.sort((a, b) => (down ? -1 : 1) * order(key(a, i), key(b, i)));
      body.append(...rows);
    });
  });
}
for (const tools of document.querySelectorAll(".tools")) {
  const rows = [...document.getElementById(tools.dataset.for).tBodies[0].rows];
  const text = tools.querySelector("[type=search]"), boxes = [...tools.querySelectorAll("[type=checkbox]")];
  const filter = () => {
    const wanted = text.value.toLowerCase(), known = boxes.map(box => box.value), on = boxes.filter(box => box.checked).map(box => box.value);
    for (const row of rows) {
      const verdict = row.dataset.verdict;
      row.hidden = !(row.textContent.toLowerCase().includes(wanted) && (!known.includes(verdict) || on.includes(verdict)));
    }
    tools.querySelector("output").textContent = `${rows.filter(row => !row.hidden).length} of ${rows.length} rows`;
  };
  tools.addEventListener("input", filter);
  tools.hidden = false;
}
const reveal = () => {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  for (let node = target; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
  target.scrollIntoView();
};
addEventListener("hashchange", reveal);
reveal();
