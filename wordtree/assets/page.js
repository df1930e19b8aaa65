"use strict";
// Draws only the visible rows, so a tree of 80,000 nodes scrolls as fast as one of ten.
(() => {
  const ROW_PX = matchMedia("(any-pointer: coarse)").matches ? 40 : 26;  // a finger needs more room
  const SPARE_ROWS = 12;
  const MAX_CHILDREN_SHOWN = 150;
  const tree = JSON.parse(document.getElementById("tree").textContent);
  const { ids, names, parents } = tree;
  const N = ids.length;
  const element = (id) => document.getElementById(id);
  const list = element("list"), sheet = element("sheet"), details = element("details"), search = element("search");

  // --- derived from the parents; siblings are adjacent and parents precede children
  const childStart = new Int32Array(N).fill(-1), childCount = new Int32Array(N);
  const depth = new Int32Array(N), below = new Int32Array(N), leavesBelow = new Int32Array(N);
  const roots = [];
  for (let node = 0; node < N; node++) {
    const parent = parents[node];
    if (parent < 0) { roots.push(node); continue; }
    if (childStart[parent] < 0) childStart[parent] = node;
    childCount[parent]++;
    depth[node] = depth[parent] + 1;
  }
  for (let node = N - 1; node >= 0; node--) {
    if (childCount[node] === 0) leavesBelow[node] = 1;
    if (parents[node] >= 0) {
      below[parents[node]] += below[node] + 1;
      leavesBelow[parents[node]] += leavesBelow[node];
    }
  }
  const numbers = Object.entries(tree.numbers).map(([name, here]) => {
    const total = Float64Array.from(here, (value) => value ?? 0);
    for (let node = N - 1; node >= 0; node--) if (parents[node] >= 0) total[parents[node]] += total[node];
    return { name, here, total };
  });
  const leaves = childCount.filter((count) => count === 0).length;
  const nodeOfId = new Map(ids.map((id, node) => [id, node]));
  const folded = names.map((name) => name.toLowerCase());
  const synonyms = tree.synonyms ?? [];  // of some nodes: other words of WordNet, and class names of data sets
  const foldedSynonyms = synonyms.map((words) => (words ?? []).map((word) => word.toLowerCase()));
  const childrenOf = (node) => Array.from({ length: childCount[node] }, (_, place) => childStart[node] + place);
  const pathOf = (node) => {
    const path = [];
    for (let step = node; step >= 0; step = parents[step]) path.push(step);
    return path.reverse();
  };
  const number = (value) => value.toLocaleString("en");

  // --- the rows: those of the tree, or the results of a search
  const open = new Uint8Array(N);
  let rows = [], found = null, selected = -1;

  function treeRows() {
    const shown = [], waiting = [...roots].reverse();
    while (waiting.length) {
      const node = waiting.pop();
      shown.push(node);
      if (open[node]) for (let place = childCount[node] - 1; place >= 0; place--) waiting.push(childStart[node] + place);
    }
    return shown;
  }

  function foundRows(text) {
    const rankIn = (word) => {
      const place = word.indexOf(text);
      if (place < 0) return Infinity;
      return word === text ? 0 : place === 0 ? 2 : /[\s-]/.test(word[place - 1]) ? 3 : 4;
    };
    const rank = (node) => {
      if (ids[node].toLowerCase() === text) return 0;
      const best = Math.min(rankIn(folded[node]), ...(foldedSynonyms[node] ?? []).map((word) => rankIn(word) + 1));
      if (best < Infinity) return best;
      if (ids[node].toLowerCase().includes(text)) return 6;
      return tree.glosses && (tree.glosses[node] ?? "").toLowerCase().includes(text) ? 7 : -1;
    };
    const ranks = names.map((_, node) => rank(node));
    const nodes = ranks.flatMap((value, node) => (value < 0 ? [] : [node]));
    return nodes.sort((a, b) => ranks[a] - ranks[b] || names[a].length - names[b].length || a - b);
  }

  // The synonym because of which a search found a node; none where its name is found.
  function matchingSynonym(node) {
    const text = search.value.trim().toLowerCase();
    if (folded[node].includes(text)) return undefined;
    return (synonyms[node] ?? [])[(foldedSynonyms[node] ?? []).findIndex((word) => word.includes(text))];
  }

  function refresh() {
    rows = found ?? treeRows();
    sheet.style.height = `${Math.max(rows.length, 1) * ROW_PX}px`;
    drawRows();
    element("summary").textContent = found
      ? `${number(found.length)} of ${number(N)} nodes found`
      : `${number(N)} nodes, ${number(leaves)} leaves, ${number(roots.length)} root${roots.length > 1 ? "s" : ""}; ${number(rows.length)} shown`;
  }

  function drawRows() {
    const first = Math.max(0, Math.floor(list.scrollTop / ROW_PX) - SPARE_ROWS);
    const last = Math.min(rows.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW_PX) + SPARE_ROWS);
    // A row that stays as it is keeps its element: the second click of a double click must find the row of the first.
    const kept = new Map();
    for (const row of [...sheet.children]) kept.set(row.dataset.key, row);
    const drawn = [];
    for (let place = first; place < last; place++) {
      const node = rows[place], key = `${node} ${place} ${open[node]} ${found ? search.value : ""}`;
      const row = kept.get(key) ?? rowElement(node, place, key);
      row.setAttribute("aria-selected", String(node === selected));
      kept.delete(key);
      drawn.push(row);
    }
    if (!rows.length) drawn.push(make("div", "row faint", "  Nothing found."));
    for (const row of kept.values()) row.remove();
    drawn.forEach((row, place) => {
      if (sheet.children[place] !== row) sheet.insertBefore(row, sheet.children[place] ?? null);
    });
    const current = rows.indexOf(selected);
    if (current >= first && current < last) list.setAttribute("aria-activedescendant", `row-${selected}`);
    else list.removeAttribute("aria-activedescendant");
  }

  function rowElement(node, place, key) {
    const inner = childCount[node] > 0;
    const row = make("div", inner ? "row" : "row leaf");
    row.id = `row-${node}`;
    row.dataset.node = node;
    row.dataset.key = key;
    row.style.top = `${place * ROW_PX}px`;
    row.style.paddingLeft = found ? "8px" : `calc(8px + var(--step) * ${depth[node]})`;
    row.setAttribute("role", "treeitem");
    row.setAttribute("aria-level", String(depth[node] + 1));
    if (inner && !found) row.setAttribute("aria-expanded", String(Boolean(open[node])));
    row.append(make("span", "toggle", inner && !found ? (open[node] ? "▾" : "▸") : ""));
    row.append(make("span", "name", names[node]));
    const synonym = found ? matchingSynonym(node) : undefined;
    if (synonym !== undefined) row.append(make("span", "synonym", synonym));
    if (names[node] !== ids[node]) row.append(make("span", "id", ids[node]));
    if (inner) row.append(make("span", "count", `${number(below[node])} below`));
    for (const { name, total } of numbers) {
      if (total[node]) row.append(make("span", "number", `${name} ${number(total[node])}`));
    }
    const above = pathOf(parents[node]).reverse();
    if (found && above.length) row.append(make("span", "above", "‹ " + above.map((step) => names[step]).join(" ‹ ")));
    return row;
  }

  function make(tag, className, text = "") {
    const made = document.createElement(tag);
    made.className = className;
    made.textContent = text;
    return made;
  }

  // --- details of a node
  function select(node, { reveal = false } = {}) {
    selected = node;
    if (reveal) {
      found = null;
      search.value = "";
      for (const step of pathOf(parents[node])) open[step] = 1;
      refresh();
    }
    const top = rows.indexOf(node) * ROW_PX;
    if (top >= 0 && reveal) list.scrollTop = top - list.clientHeight / 2;
    else if (top >= 0 && top < list.scrollTop) list.scrollTop = top;
    else if (top + ROW_PX > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW_PX - list.clientHeight;
    drawRows();
    drawDetails(node);
    history.replaceState(null, "", `#${encodeURIComponent(ids[node])}`);
  }

  function drawDetails(node) {
    const facts = [
      ["Level", number(depth[node])],
      ["Children", number(childCount[node])],
      ["Nodes below", number(below[node])],
      ["Leaves at or below", number(leavesBelow[node])],
      ["Siblings", number((parents[node] < 0 ? roots.length : childCount[parents[node]]) - 1)],
    ];
    details.replaceChildren(make("h2", "", names[node]), make("div", "faint", `${ids[node]} · node ${node}`));
    if (tree.glosses?.[node]) details.append(make("p", "gloss", tree.glosses[node]));
    if (synonyms[node]) details.append(make("p", "also", `also ${synonyms[node].join(", ")}`));
    details.append(make("h3", "", "Path"), links(pathOf(node), " › "));
    const table = make("table", "");
    for (const [name, value] of facts) table.append(tableRow(name, value));
    details.append(make("h3", "", "Counts"), table);
    if (numbers.length) {
      const measured = make("table", "numbers");
      measured.append(tableRow("", "here", "at or below"));
      for (const { name, here, total } of numbers) {
        measured.append(tableRow(name, here[node] === null ? "unknown" : number(here[node]), number(total[node])));
      }
      details.append(make("h3", "", "Numbers"), measured);
    }
    const kinds = tree.relations.filter((pair) => pair[1] === node).map((pair) => pair[0]);
    const kindOf = tree.relations.filter((pair) => pair[0] === node).map((pair) => pair[1]);
    section("Also a kind of, outside the tree", kindOf);
    section("Also has as kinds, outside the tree", kinds);
    section("Children", childrenOf(node));
    details.scrollTop = 0;
  }

  function section(title, nodes) {
    if (!nodes.length) return;
    details.append(make("h3", "", title), links(nodes.slice(0, MAX_CHILDREN_SHOWN)));
    const more = nodes.length - MAX_CHILDREN_SHOWN;
    if (more > 0) details.append(make("div", "faint", `and ${number(more)} more, in the tree`));
  }

  function links(nodes, between = "") {
    const line = make("div", "links");
    nodes.forEach((node, place) => {
      const link = make("button", "link", names[node]);
      link.type = "button";
      link.dataset.node = node;
      if (between && place) line.append(make("span", "faint", between));
      line.append(link);
    });
    return line;
  }

  function tableRow(head, ...cells) {
    const row = make("tr", "");
    row.append(make("th", "", head), ...cells.map((cell) => make("td", "", cell)));
    return row;
  }

  // --- events
  function toggle(node) {
    open[node] = open[node] ? 0 : 1;
    refresh();
  }

  function openTo(level) {
    for (let node = 0; node < N; node++) open[node] = depth[node] < level ? 1 : 0;
    found = null;
    search.value = "";
    refresh();
  }

  // With a mouse, a click selects, and a double click or a click on the triangle opens and closes. A finger has no
  // double click and misses triangles, so a tap anywhere on the row does both.
  let touched = false, clicked = -1;  // clicked: the node of the first click of a double click
  sheet.addEventListener("pointerdown", (event) => { touched = event.pointerType !== "mouse"; });
  sheet.addEventListener("click", (event) => {
    const row = event.target.closest("[data-node]");
    if (!row) return;
    const node = Number(row.dataset.node), onTriangle = event.target.classList.contains("toggle");
    const again = event.detail > 1;
    if (again && node !== clicked) return;  // the first click, on a result of a search, has moved the rows
    clicked = node;
    if (!found && childCount[node] && (onTriangle || (touched && !again))) toggle(node);
    if (touched || !onTriangle || found || !childCount[node]) select(node, { reveal: found !== null });
  });
  sheet.addEventListener("dblclick", (event) => {
    const row = event.target.closest("[data-node]");
    if (!row || touched || event.target.classList.contains("toggle")) return;
    const node = Number(row.dataset.node);
    if (node === clicked && !found && childCount[node]) toggle(node);
  });
  details.addEventListener("click", (event) => {
    const link = event.target.closest("[data-node]");
    if (link) select(Number(link.dataset.node), { reveal: true });
  });
  list.addEventListener("scroll", drawRows, { passive: true });
  addEventListener("resize", drawRows);
  addEventListener("hashchange", openHash);

  search.addEventListener("input", () => {
    const text = search.value.trim().toLowerCase();
    found = text ? foundRows(text) : null;
    list.scrollTop = 0;
    refresh();
  });
  search.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && found?.length) select(found[0], { reveal: true });
    if (event.key === "ArrowDown" && rows.length) { list.focus(); select(rows[0]); event.preventDefault(); }
  });
  element("level").addEventListener("input", (event) => openTo(Number(event.target.value)));
  element("open-all").addEventListener("click", () => openTo(Infinity));
  element("close-all").addEventListener("click", () => openTo(0));

  list.addEventListener("keydown", (event) => {
    const place = rows.indexOf(selected);
    const inner = selected >= 0 && childCount[selected] > 0 && !found;
    const acts = {
      ArrowDown: () => select(rows[Math.min(place + 1, rows.length - 1)]),
      ArrowUp: () => select(rows[Math.max(place - 1, 0)]),
      Home: () => select(rows[0]),
      End: () => select(rows[rows.length - 1]),
      ArrowRight: () => (inner && !open[selected] ? toggle(selected) : inner && select(childStart[selected])),
      ArrowLeft: () => (inner && open[selected] ? toggle(selected) : parents[selected] >= 0 && !found && select(parents[selected])),
      Enter: () => (found ? select(selected, { reveal: true }) : inner && toggle(selected)),
    };
    if (!(event.key in acts) || !rows.length) return;
    event.preventDefault();
    acts[event.key]();
  });

  function decodedHash() {
    try { return decodeURIComponent(location.hash.slice(1)); } catch { return ""; }
  }

  function openHash() {
    const node = nodeOfId.get(decodedHash());
    if (node !== undefined && node !== selected) select(node, { reveal: true });
  }

  document.documentElement.style.setProperty("--row", `${ROW_PX}px`);
  const searched = ["names", ...(tree.synonyms ? ["synonyms"] : []), ...(tree.glosses ? ["glosses"] : [])];
  search.placeholder = `Search ${searched.join(", ")} and ids`;
  element("level").value = tree.level;
  openTo(tree.level);
  if (nodeOfId.has(decodedHash())) openHash();
  else if (tree.start >= 0) select(tree.start, { reveal: true });
  else select(roots[0]);
})();
