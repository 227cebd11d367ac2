// Sorting, filtering, search and keys of a report. Every page is complete without it; the URL holds what is shown.
"use strict";

(() => {
  const table = document.querySelector("table.units");
  const form = document.querySelector("form.filters");
  const follow = (rel) => document.querySelector(`link[rel=${rel}]`)?.href;

  if (!table || !form) {
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, [tabindex]")) return;
      const to = follow({ ArrowLeft: "prev", ArrowRight: "next", u: "up" }[event.key]);
      if (to) location.href = to;
    });
    return;
  }

  const ROWS_AT_ONCE = table.tBodies[0]?.rows.length;
  const heads = [...table.tHead.rows[0].cells];
  const column = Object.fromEntries(heads.map((head, i) => [head.dataset.key, i]));
  const cell = (row, key) => row.cells[column[key]];
  const text = (row, key) => (Object.hasOwn(column, key) ? cell(row, key).textContent : "");
  let rows = [...table.querySelectorAll("tbody tr")].map((row, place) => ({
    row,
    place,
    search: ["unit", "concept", "category"].map((key) => text(row, key)).join(" ").toLowerCase(),
    concept: text(row, "concept"),
    category: text(row, "category"),
    detector: "detector" in row.dataset,
  }));
  const first = heads.find((head) => head.ariaSort);
  const usual = first ? first.dataset.key : "";
  const names = ["q", "category", "concept", "detectors", "sort"];
  const everything = { q: "", category: "", concept: "", detectors: "" };
  let state = {};
  let sorted = usual;

  function read() {
    const query = new URLSearchParams(location.search);
    return Object.fromEntries(names.map((name) => [name, query.get(name) ?? ""]));
  }

  // Numbers sort by size, words alphabetically; unknown values come last.
  function value(row, key) {
    const shown = cell(row, key).dataset.value ?? cell(row, key).textContent.trim();
    if (shown === "–") return null;
    return shown !== "" && !Number.isNaN(Number(shown)) ? Number(shown) : shown;
  }

  function sort(order) {
    const down = order.startsWith("-");
    const key = down ? order.slice(1) : order;
    if (key && !Object.hasOwn(column, key)) return;
    const keyed = rows.map((one) => [key ? value(one.row, key) : one.place, one]);
    keyed.sort(([a, one], [b, other]) => {
      if (a === null || b === null) return (a === null) - (b === null) || one.place - other.place;
      const ascending = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
      return (down ? -ascending : ascending) || one.place - other.place;
    });
    rows = keyed.map(([, one]) => one);
    for (const head of heads) {
      if (head.dataset.key === key && key) head.ariaSort = down ? "descending" : "ascending";
      else head.removeAttribute("aria-sort");
    }
    sorted = order;
  }

  // Put the rows shown into groups: the browser lays out only those near the screen. Other rows leave the page.
  function arrange(shown) {
    const present = [...table.querySelectorAll("tbody tr")];
    if (present.length === shown.length && shown.every((one, i) => one.row === present[i])) return;
    const groups = [];
    for (let first = 0; first < shown.length; first += ROWS_AT_ONCE) {
      const group = document.createElement("tbody");
      group.append(...shown.slice(first, first + ROWS_AT_ONCE).map((one) => one.row));
      group.style.setProperty("--rows", group.rows.length);
      groups.push(group);
    }
    table.replaceChildren(table.tHead, ...groups);
  }

  function apply() {
    const order = state.sort || usual;
    if (order !== sorted) sort(order);
    const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
    const shown = rows.filter(
      (one) =>
        words.every((word) => one.search.includes(word)) &&
        (!state.category || one.category === state.category) &&
        (!state.concept || one.concept === state.concept) &&
        (!state.detectors || one.detector),
    );
    arrange(shown);
    form.elements.q.value = state.q;
    form.elements.category.value = state.category;
    form.elements.detectors.checked = state.detectors !== "";
    if (form.elements.concept) {
      form.elements.concept.value = state.concept;
      form.elements.concept.closest("label").hidden = !state.concept;
    }
    form.querySelector("output").textContent = `${shown.length} of ${rows.length}`;
  }

  // Change what is shown, as a step that Back undoes; while typing, the same step is rewritten.
  function go(change, typing = false) {
    if (Object.entries(change).every(([name, set]) => state[name] === set)) return;
    state = { ...state, ...change };
    const query = new URLSearchParams(Object.entries(state).filter(([, set]) => set));
    const url = (String(query) ? `?${query}` : location.pathname) + (typing ? "" : location.hash.replace(/^#unit-.*/, ""));
    history[typing ? "replaceState" : "pushState"](null, "", url);
    apply();
  }

  function unescaped(text) {
    try {
      return decodeURIComponent(text);
    } catch {
      return text; // typed by hand
    }
  }

  // A link to a unit shows it, even if a filter hides it.
  function reveal() {
    const name = unescaped(location.hash.slice(1));
    const target = rows.find((one) => one.row.id === name)?.row ?? document.getElementById(name);
    if (!name || !target) return;
    if (!target.isConnected) {
      state = { ...state, ...everything };
      apply();
    }
    target.scrollIntoView({ block: "start" });
    target.querySelector("a.unit")?.focus({ preventScroll: true });
  }

  function step(by) {
    const links = [...table.querySelectorAll("tbody a.unit")];
    const at = links.indexOf(document.activeElement);
    const link = links[at < 0 ? (by > 0 ? 0 : links.length - 1) : at + by];
    link?.focus();
    link?.closest("tr").scrollIntoView({ block: "nearest" });
  }

  for (const head of heads) {
    if (!head.dataset.key) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const key = head.dataset.key;
      const up = head.ariaSort ? head.ariaSort === "descending" : head.dataset.first !== "descending";
      const order = up ? key : `-${key}`;
      go({ sort: order === usual ? "" : order });
    });
  }
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", (event) => {
    event.preventDefault();
    go(everything);
  });
  let typing = false;
  form.elements.q.addEventListener("input", (event) => {
    go({ q: event.target.value }, typing);
    typing = true;
  });
  form.elements.q.addEventListener("change", () => (typing = false));
  form.elements.category.addEventListener("change", (event) => go({ category: event.target.value }));
  form.elements.detectors.addEventListener("change", (event) => go({ detectors: event.target.checked ? "1" : "" }));
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-filter]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const query = new URL(link.href).searchParams;
    go({ concept: query.get("concept"), category: query.get("category"), detectors: query.get("detectors"), q: "" });
    document.getElementById("units").scrollIntoView();
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") {
      go(everything);
      document.activeElement.blur();
    } else if (event.target.closest("input, select")) {
      return;
    } else if (event.key === "/") {
      event.preventDefault();
      form.elements.q.focus();
    } else if (event.key === "j" || event.key === "k") {
      step(event.key === "j" ? 1 : -1);
    }
  });
  window.addEventListener("popstate", () => {
    typing = false;
    state = read();
    apply();
    reveal();
  });
  window.addEventListener("hashchange", reveal);

  form.hidden = false;
  state = read();
  apply();
  if (document.readyState === "complete") reveal();
  else window.addEventListener("load", () => setTimeout(reveal)); // after the browser's own jump, which moves the focus
  document.documentElement.dataset.ready = "";
})();
