"use strict";

// Light or dark: as the system has it, until the reader chooses.
const theme = document.getElementById("theme");
const system = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
const nameTheme = () => { theme.textContent = isDark() ? "Light page" : "Dark page"; };
theme.addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  nameTheme();
});
system.addEventListener("change", nameTheme);
theme.hidden = false;
nameTheme();

// Tables are sorted by the heads of their columns; what is missing comes last in either direction.
const key = (row, column) => {
  const cell = row.cells[column];
  const text = (cell.dataset.sort ?? cell.textContent).trim();
  const number = Number(text);
  return text === "" || text === "–" ? null : Number.isNaN(number) ? text : number;
};
const compare = (a, b) =>
  typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
const sortBy = (head, direction) => {
  const body = head.closest("table").tBodies[0];
  const rows = [...body.rows].map((row) => ({ row, key: key(row, head.cellIndex) }));
  const known = rows.filter((item) => item.key !== null);
  const sign = direction === "ascending" ? 1 : -1;
  known.sort((a, b) => sign * compare(a.key, b.key));
  body.append(...known.map((item) => item.row), ...rows.filter((item) => item.key === null).map((item) => item.row));
  for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", direction);
};
for (const button of document.querySelectorAll(".sortable thead button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th");
    const opposite = { ascending: "descending", descending: "ascending" };
    sortBy(head, opposite[head.getAttribute("aria-sort")] ?? button.dataset.first);
  });
}

// The keys of a legend hide and show their lines, and bring them out while the pointer or the focus is on them.
for (const button of document.querySelectorAll("[data-toggles]")) {
  const lines = [...button.closest(".charted").querySelectorAll("[data-series]")];
  const own = lines.filter((line) => line.dataset.series === button.dataset.toggles);
  const bringOut = (on) => lines.forEach((line) => line.classList.toggle("dim", on && !own.includes(line)));
  button.addEventListener("click", () => {
    const shown = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(shown));
    own.forEach((line) => line.classList.toggle("off", !shown));
  });
  for (const event of ["pointerenter", "focus"]) button.addEventListener(event, () => bringOut(true));
  for (const event of ["pointerleave", "blur"]) button.addEventListener(event, () => bringOut(false));
}

// Pictures are enlarged in a dialog; the arrow keys go from one to the next: image, truth, prediction.
const viewer = document.getElementById("viewer");
const pictures = [...document.querySelectorAll(".picture img")];
let current = 0;
const show = (index) => {
  current = (index + pictures.length) % pictures.length;
  const { src, alt } = pictures[current];
  Object.assign(viewer.querySelector("img"), { src, alt });
  viewer.querySelector("p").textContent = alt;
};
pictures.forEach((picture, index) => picture.parentElement.addEventListener("click", () => {
  show(index);
  viewer.showModal();
}));
for (const button of viewer.querySelectorAll("[data-step]")) {
  button.addEventListener("click", () => show(current + Number(button.dataset.step)));
}
viewer.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (step) show(current + step);
});
viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
