"use strict";
(() => {
  const root = document.documentElement;
  const theme = document.getElementById("theme");
  const isDark = () =>
    root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const tell = () => {
    theme.setAttribute("aria-pressed", String(isDark()));
    theme.textContent = "Dark";
  };
  theme.hidden = false;
  theme.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    tell();
  });
  tell();

  // Narrow screens begin with the contents closed.
  const contents = document.querySelector(".contents details");
  if (matchMedia("(max-width: 62rem)").matches) contents.open = false;

  // The contents follow what is read.
  const links = new Map([...document.querySelectorAll(".contents a")].map((a) => [a.hash.slice(1), a]));
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const [key, link] of links) {
        if (key === entry.target.id) link.setAttribute("aria-current", "true");
        else link.removeAttribute("aria-current");
      }
    }
  }, { rootMargin: "-15% 0px -80% 0px" });
  for (const section of document.querySelectorAll("main > section")) seen.observe(section);

  // Tables: a click on a heading sorts by it, another one the other way round.
  const key = (row, place) => {
    const cell = row.cells[place];
    return cell.dataset.sort ?? cell.textContent.trim();
  };
  const compare = (a, b) => {
    const x = a === "" ? NaN : Number(a), y = b === "" ? NaN : Number(b);
    if (Number.isFinite(x) && Number.isFinite(y)) return x - y;
    if (a === "" || b === "") return (a === "") - (b === "");
    return a.localeCompare(b);
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, place) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const first = head.classList.contains("n") ? "descending" : "ascending";
        const other = first === "ascending" ? "descending" : "ascending";
        const order = head.getAttribute("aria-sort") === first ? other : first;
        for (const one of head.parentNode.cells) one.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", order);
        const sign = order === "ascending" ? 1 : -1;
        const rows = [...table.tBodies[0].rows];
        rows.sort((a, b) => sign * compare(key(a, place), key(b, place)));
        table.tBodies[0].append(...rows);
      });
    });
  }

  // The look-up of the users who were named.
  const search = document.getElementById("who");
  if (search) {
    const people = [...document.querySelectorAll(".person")];
    const told = document.getElementById("who-found");
    search.addEventListener("input", () => {
      const asked = search.value.trim().toLowerCase();
      const exact = people.filter((one) => one.dataset.user.toLowerCase() === asked);
      const found = exact.length ? exact : people.filter((one) => one.dataset.user.toLowerCase().includes(asked));
      for (const one of people) one.hidden = !found.includes(one);
      told.textContent = found.length === people.length ? "" : `${found.length} of ${people.length} users`;
    });
  }

  // The graph: what a table reads, and what reads it, stands out.
  const graph = document.querySelector(".graph");
  if (graph) {
    const mark = (node) => {
      for (const one of graph.querySelectorAll(".near")) one.classList.remove("near");
      graph.classList.toggle("asked", Boolean(node));
      if (!node) return;
      node.classList.add("near");
      for (const edge of graph.querySelectorAll(".edge")) {
        const { from, to } = edge.dataset;
        if (from !== node.dataset.step && to !== node.dataset.step) continue;
        edge.classList.add("near");
        for (const name of [from, to])
          graph.querySelector(`[data-step="${CSS.escape(name)}"]`)?.classList.add("near");
      }
    };
    for (const node of graph.querySelectorAll(".node")) {
      node.addEventListener("focus", () => mark(node));
      node.addEventListener("mouseenter", () => mark(node));
      node.addEventListener("blur", () => mark(null));
      node.addEventListener("mouseleave", () => mark(null));
    }
  }
})();
