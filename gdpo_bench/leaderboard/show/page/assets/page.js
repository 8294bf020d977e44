// Sorts tables, filters entries, copies commands and remembers the colours. All content is there without it.
"use strict";
document.documentElement.classList.add("js");

const all = (selector, root = document) => Array.from(root.querySelectorAll(selector));

function sortable(table) {
  const body = table.tBodies[0];
  all("thead th", table).forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const numeric = "numeric" in head.dataset;
      const downwards = numeric && !("less" in head.dataset); // the wanted end first
      const before = head.getAttribute("aria-sort");
      const direction = before ? (before === "ascending" ? -1 : 1) : downwards ? -1 : 1;
      all("th[aria-sort]", table.tHead).forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
      const key = (row) => {
        const cell = row.cells[column];
        return numeric ? ("key" in cell.dataset ? Number(cell.dataset.key) : null) : cell.textContent.trim();
      };
      const compare = (a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === null || y === null) return (x === null) - (y === null); // missing values last, whatever the order
        return direction * (numeric ? x - y : x.localeCompare(y, "en", { numeric: true }));
      };
      body.append(...all("tr", body).sort(compare));
    });
  });
}

function filterable(form) {
  const entries = all("details.entry");
  const parts = new Map(entries.map((entry) => [entry.dataset.entry, []]));
  all("[data-entry]").forEach((part) => parts.get(part.dataset.entry)?.push(part));
  const texts = new Map(entries.map((entry) => [entry, entry.textContent.toLowerCase()]));

  function apply() {
    const wanted = new FormData(form);
    const normalizers = new Set(wanted.getAll("normalizer"));
    const words = wanted.get("search").toLowerCase().split(/\s+/).filter(Boolean);
    const choices = all("select", form).filter((choice) => choice.value);
    let shown = 0;
    for (const entry of entries) {
      const passes =
        normalizers.has(entry.dataset.normalizer) &&
        choices.every((choice) => entry.dataset[choice.name] === choice.value) &&
        words.every((word) => texts.get(entry).includes(word));
      shown += passes;
      for (const part of parts.get(entry.dataset.entry)) part.toggleAttribute("hidden", !passes);
    }
    for (const part of all("[data-pooled]")) part.toggleAttribute("hidden", !normalizers.has(part.dataset.pooled));
    for (const panel of all(".panel")) {
      panel.hidden = !panel.querySelector("tbody tr:not([hidden])");
      const row = all("[data-panel]").find((row) => row.dataset.panel === panel.id);
      if (row) row.hidden = panel.hidden;
    }
    for (const group of all(".group")) group.hidden = !group.querySelector(".panel:not([hidden])");
    document.getElementById("shown").textContent = `${shown} of ${entries.length} entries`;
    document.getElementById("nothing").hidden = shown > 0;
  }

  form.addEventListener("input", apply);
  form.addEventListener("change", apply); // not every way of choosing from a list is input
  form.addEventListener("reset", () => setTimeout(apply));
  form.addEventListener("submit", (event) => event.preventDefault());
  apply();
}

function copyable(command) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(command.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(command);
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
  command.before(button);
}

function rememberTheme(choice) {
  const key = "gdpo-bench-theme";
  try {
    const before = choice.querySelector(`[value="${localStorage.getItem(key)}"]`);
    if (before) before.checked = true;
    choice.addEventListener("change", (event) => localStorage.setItem(key, event.target.value));
  } catch {
    // A browser that stores nothing for files: the switch works, and is forgotten.
  }
}

// An entry that a link leads to is opened, and one that a filter hides is shown again.
function openTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target?.closest("[hidden]")) document.getElementById("filters").reset();
  const details = target?.closest("details");
  if (details) details.open = true;
  if (target) setTimeout(() => target.scrollIntoView());
}

if (matchMedia("(max-width: 60rem)").matches) document.querySelector(".fold").open = false;
all("table.sortable").forEach(sortable);
filterable(document.getElementById("filters"));
all(".command").forEach(copyable);
rememberTheme(document.getElementById("theme"));
addEventListener("hashchange", openTarget);
if (location.hash) openTarget();
