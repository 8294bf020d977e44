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
      const [pinned, others] = [true, false].map((wanted) => all("tr", body).filter((row) => row.matches(".pinned") === wanted));
      body.append(...pinned, ...others.sort(compare));
    });
  });
}

function filterable(form) {
  const entries = all("[data-normalizer]");
  const counted = entries.filter((entry) => !entry.matches(".superseded")).length;
  const byId = new Map(entries.map((entry) => [entry.dataset.entry, entry]));
  const texts = new Map(entries.map((entry) => [entry, entry.textContent.toLowerCase()]));
  const panels = all(".panel").map((panel) => ({
    panel,
    rows: all("tbody tr", panel),
    parts: all("[data-entry]", panel),
    pinned: new Set(all("tr.pinned", panel).map((row) => row.dataset.entry)),
  }));

  function apply() {
    const wanted = new FormData(form);
    const asked = new Set(wanted.getAll("normalizer"));
    const words = wanted.get("search").toLowerCase().split(/\s+/).filter(Boolean);
    const choices = all("select", form).filter((choice) => choice.value);
    const searching = words.length + choices.length > 0;
    const passing = new Set();
    let shown = 0;
    for (const entry of entries) {
      const passes =
        choices.every((choice) => entry.dataset[choice.name] === choice.value) &&
        words.every((word) => texts.get(entry).includes(word));
      entry.hidden = !passes;
      if (!passes) continue;
      passing.add(entry.dataset.entry);
      shown += !entry.matches(".superseded");
    }
    for (const { panel, rows, parts, pinned } of panels) {
      panel.hidden = !rows.some((row) => passing.has(row.dataset.entry));
      for (const part of parts) {
        const id = part.dataset.entry;
        const named = asked.has(byId.get(id)?.dataset.normalizer);
        part.toggleAttribute("hidden", !passing.has(id) && !pinned.has(id));
        part.classList.toggle("asked", named || (searching && passing.has(id)));
      }
      panel.closest(".other")?.toggleAttribute("hidden", panel.hidden);
      for (const row of all("[data-panel]")) if (row.dataset.panel === panel.id) row.hidden = panel.hidden;
    }
    for (const group of all(".group")) {
      if (group.querySelector(".panel")) group.hidden = !group.querySelector(".panel:not([hidden])");
    }
    for (const fold of all(".corrected")) fold.hidden = !fold.querySelector(".entry:not([hidden])") && searching;
    document.getElementById("shown").textContent = `${shown.toLocaleString("en")} of ${counted.toLocaleString("en")} entries`;
    document.getElementById("nothing").hidden = passing.size > 0;
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
  if (target?.closest("[hidden]")) document.getElementById("filters")?.reset();
  for (let fold = target?.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
  if (target) setTimeout(() => target.scrollIntoView());
}

all("table.sortable").forEach(sortable);
if (document.getElementById("filters")) filterable(document.getElementById("filters"));
all(".command").forEach(copyable);
rememberTheme(document.getElementById("theme"));
addEventListener("hashchange", openTarget);
if (location.hash) openTarget();
