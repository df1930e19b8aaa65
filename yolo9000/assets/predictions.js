"use strict";
// Draws only the cards in view, so that 10,000 images scroll as fast as ten.
(() => {
  const element = (id) => document.getElementById(id);
  const embedded = element("data");
  const data = embedded ? JSON.parse(embedded.textContent) : window.predictions;
  const { images, nodes } = data;
  const SPARE_ROWS = 2, CAPTION_PX = 47, GAP_PX = 10;
  const COLOURS = ["#f4544a", "#40a0ff", "#ffcd28", "#48c878", "#d678ff", "#ff961e", "#3cd6d6", "#ff82b4", "#b4dc3c", "#9696ff"];
  const BADGES = ["none", "image labels only", "boxes"];
  const make = (tag, className, text) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };

  // --- nodes: parents come first
  const N = nodes.names.length, depth = new Int32Array(N), below = new Int32Array(N), isParent = new Uint8Array(N);
  const folded = nodes.names.map((name) => name.toLowerCase());
  for (let node = 0; node < N; node++) {
    const parent = nodes.parents[node];
    if (parent >= 0) { depth[node] = depth[parent] + 1; isParent[parent] = 1; }
  }
  for (let node = N - 1; node >= 0; node--) if (nodes.parents[node] >= 0) below[nodes.parents[node]] += below[node] + 1;
  const pathTo = (node) => {
    const path = [];
    for (let step = node; step >= 0; step = nodes.parents[step]) path.unshift(step);
    return path;
  };
  const atOrUnder = (wanted) => {  // mask of nodes at or below the wanted ones
    const mask = new Uint8Array(N);
    for (let node = 0; node < N; node++) mask[node] = wanted(node) || (nodes.parents[node] >= 0 && mask[nodes.parents[node]]) ? 1 : 0;
    return mask;
  };
  const ancestorAt = (node, level) => { while (depth[node] > level) node = nodes.parents[node]; return node; };
  const colourLevel = (() => {  // the first depth with several branches
    for (let level = 0; level < 30; level++) if (depth.filter((one) => one === level).length > 2) return level;
    return 0;
  })();
  const colourOf = (node) => COLOURS[ancestorAt(node, colourLevel) % COLOURS.length];

  // --- detections
  for (const [order, image] of images.entries()) {
    image.order = order;
    image.found = image.found.map(([box, leaf, path, at, objectness, score, almost, stopped]) => ({
      box, leaf, path, at, objectness, score, almost, stopped, nodes: pathTo(leaf),
    }));
  }
  const state = { minAbsolute: data.min_absolute, touched: false, query: () => true, almost: false, sort: "order", shown: [], current: 0 };

  const shownStep = (found) => {  // index in the path of the class that is shown: the deepest allowed one whose P exceeds the slider
    if (!state.touched) return found.at;
    let best = -1;
    for (let step = 0; step < found.path.length; step++) {
      if (!nodes.allowed[found.nodes[step]]) continue;
      if (best < 0 || found.path[step] > state.minAbsolute) best = step;
    }
    return best < 0 ? found.at : best;
  };
  const scoreAt = (found, step) => step === found.at || data.fixed_scores ? found.score : found.objectness * found.path[step];
  const visible = (image) => image.found.filter((found) => {
    if (found.almost && !state.almost) return false;
    const step = shownStep(found), [left, top, right, bottom] = found.box;
    return state.query({
      node: found.nodes[step], score: scoreAt(found, step), absolute: found.path[step], objectness: found.objectness,
      area: (right - left) * (bottom - top),
    });
  });

  // --- queries: the language of docs/queries.md over the classes of this page
  const FIELDS = { score: (row) => row.score, absolute: (row) => row.absolute, objectness: (row) => row.objectness,
    area: (row) => row.area, depth: (row) => depth[row.node], below: (row) => below[row.node] };
  const COMPARE = { "<": (a, b) => a < b, "<=": (a, b) => a <= b, ">": (a, b) => a > b, ">=": (a, b) => a >= b,
    "=": (a, b) => a === b, "==": (a, b) => a === b, "!=": (a, b) => a !== b };
  const TOKEN = /\s*(?:("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'(?=[\s&|!()<>=]|$))|(<=|>=|==|!=|[&|!()<>=])|([^\s&|!()<>="]+(?:\s+[^\s&|!()<>="'][^\s&|!()<>="]*)*))/y;
  const parse = (text) => {
    const tokens = [];
    TOKEN.lastIndex = 0;
    while (text.slice(TOKEN.lastIndex).trim()) {
      const found = TOKEN.exec(text);
      if (!found) throw new Error("a quote is never closed");
      tokens.push({ quoted: found[1], sign: found[2], name: found[3] });
    }
    let at = 0;
    const next = () => tokens[at] ?? {};
    const take = (sign) => next().sign === sign && (at++, true);
    const either = () => { const parts = [both()]; while (take("|")) parts.push(both()); return parts.length === 1 ? parts[0] : (row) => parts.some((part) => part(row)); };
    const both = () => { const parts = [one()]; while (take("&")) parts.push(one()); return parts.length === 1 ? parts[0] : (row) => parts.every((part) => part(row)); };
    const one = () => {
      if (take("!")) { const inner = one(); return (row) => !inner(row); }
      if (take("(")) { const inner = either(); if (!take(")")) throw new Error("a ')' is missing"); return inner; }
      const token = next();
      at++;
      if (token.name && COMPARE[next().sign]) {
        const field = FIELDS[token.name], compare = COMPARE[next().sign];
        at++;
        const value = Number(next().name);
        at++;
        if (!field) throw new Error(`there is no field '${token.name}'`);
        if (Number.isNaN(value)) throw new Error(`'${token.name}' is compared with a number`);
        return (row) => compare(field(row), value);
      }
      if (!token.name && !token.quoted) throw new Error("a name is missing");
      if (token.name && take("(")) {
        const name = next();
        at++;
        if (!take(")")) throw new Error("a ')' is missing");
        const chosen = new Set(named(name));
        const test = { only: (node) => chosen.has(node), below: (node) => { let up = nodes.parents[node]; while (up >= 0 && !chosen.has(up)) up = nodes.parents[up]; return up >= 0; },
          children: (node) => chosen.has(nodes.parents[node]) }[token.name];
        if (!test) throw new Error(`there is no function '${token.name}' on this page`);
        return (row) => test(row.node);
      }
      if (token.name === "leaf") return (row) => !isParent[row.node];
      const wanted = new Set(named(token)), mask = atOrUnder((node) => wanted.has(node));
      return (row) => mask[row.node] === 1;
    };
    const named = ({ name, quoted }) => {
      const wanted = (quoted ? quoted.slice(1, -1).replace(/\\(.)/g, "$1") : (name ?? "").replace(/\s+/g, " ")).toLowerCase();
      const pattern = quoted || !/[*?]/.test(wanted) ? null
        : new RegExp(`^${wanted.replace(/[.+^${}()|[\]\\]/g, "\\$&").replace(/\*/g, ".*").replace(/\?/g, ".")}$`);
      const found = [];
      for (let node = 0; node < N; node++) {
        const matches = pattern ? pattern.test(folded[node]) || pattern.test(nodes.ids[node]) : folded[node] === wanted || nodes.ids[node] === wanted;
        if (matches) found.push(node);
      }
      if (!found.length) throw new Error(`no class '${wanted}' was detected`);
      return found;
    };
    const rule = either();
    if (at < tokens.length) throw new Error("expected & or |");
    return rule;
  };

  // --- the boxes of an image
  const figureOf = (image, found, widthPx, heightPx) => {
    const [width, height] = image.size, scale = Math.min(widthPx / width, heightPx / height);
    const frame = make("div", "frame");
    frame.style.cssText = `width:${width * scale}px;height:${height * scale}px`;
    const img = make("img");
    img.loading = "lazy"; img.decoding = "async"; img.alt = ""; img.src = image.thumb;
    frame.append(img);
    for (const one of [...found].reverse()) {
      const step = shownStep(one), [left, top, right, bottom] = one.box.map((value) => value * scale);
      const box = make("div", `box${one.almost ? " almost" : ""}${top < 18 ? " top" : ""}`);
      box.style.cssText = `left:${left}px;top:${top}px;width:${Math.max(2, right - left)}px;height:${Math.max(2, bottom - top)}px;--colour:${colourOf(one.nodes[step])}`;
      box.append(make("span", "", `${nodes.names[one.nodes[step]]} ${scoreAt(one, step).toFixed(2)}`));
      frame.append(box);
    }
    return frame;
  };
  const titleOf = (image) => image.frame === undefined ? image.name : `${image.name} frame ${image.frame}`;
  const namesOf = (found) => found.map((one) => nodes.names[one.nodes[shownStep(one)]]);

  // --- the grid: cards of one size, of which only those in view exist
  const grid = element("grid"), sheet = element("sheet"), cards = new Map();
  let columns = 1, cardPx = 280, rowPx = 280;
  const measure = () => {
    const width = grid.clientWidth;
    columns = Math.max(1, Math.floor((width + GAP_PX) / (250 + GAP_PX)));
    if (width < 560) columns = width < 340 ? 1 : 2;
    cardPx = (width - GAP_PX * (columns - 1)) / columns;
    rowPx = Math.round(cardPx * 0.8) + CAPTION_PX + GAP_PX;
    sheet.style.height = `${Math.ceil(state.shown.length / columns) * rowPx}px`;
  };
  const draw = () => {
    const top = -grid.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor(top / rowPx) - SPARE_ROWS) * columns;
    const past = Math.min(state.shown.length, (Math.ceil((top + innerHeight) / rowPx) + SPARE_ROWS) * columns);
    for (const [rank, card] of cards) if (rank < first || rank >= past) { card.remove(); cards.delete(rank); }
    for (let rank = first; rank < past; rank++) if (!cards.has(rank)) cards.set(rank, sheet.appendChild(cardOf(rank)));
  };
  const cardOf = (rank) => {
    const { image, found } = state.shown[rank];
    const card = make("div", `card${rank === state.current ? " current" : ""}`);
    card.id = `card-${rank}`;
    card.setAttribute("role", "option");
    card.setAttribute("aria-selected", String(rank === state.current));
    card.setAttribute("aria-label", `${titleOf(image)}: ${namesOf(found).join(", ") || "no detections"}`);
    card.style.cssText = `left:${(rank % columns) * (cardPx + GAP_PX)}px;top:${Math.floor(rank / columns) * rowPx}px;width:${cardPx}px;height:${rowPx - GAP_PX}px`;
    const area = make("div", "area");
    area.append(figureOf(image, found, cardPx - 2, rowPx - GAP_PX - CAPTION_PX));
    const caption = make("div", "caption"), name = make("div", "name");
    name.append(make("bdi", "", titleOf(image)));
    caption.append(make("div", "", namesOf(found).join(", ") || "no detections"), name);
    card.append(area, caption);
    card.addEventListener("click", () => { select(rank); open(); });
    return card;
  };
  const redraw = () => {
    for (const card of cards.values()) card.remove();
    cards.clear();
    measure();
    draw();
  };

  const ORDERS = {
    order: (a, b) => a.image.order - b.image.order,
    best: (a, b) => b.best - a.best || a.image.order - b.image.order,
    worst: (a, b) => a.best - b.best || a.image.order - b.image.order,
    count: (a, b) => b.found.length - a.found.length || a.image.order - b.image.order,
    name: (a, b) => (a.image.name < b.image.name ? -1 : a.image.name > b.image.name ? 1 : a.image.order - b.image.order),
  };
  const counted = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
  const update = () => {
    const isFiltered = element("query").value.trim() !== "";
    state.shown = [];
    let detections = 0;
    const counts = new Map();
    for (const image of images) {
      const found = visible(image);
      if (isFiltered && !found.length) continue;
      detections += found.length;
      let best = 0;
      for (const one of found) {
        const step = shownStep(one), node = one.nodes[step];
        best = Math.max(best, scoreAt(one, step));
        counts.set(node, (counts.get(node) ?? 0) + 1);
      }
      state.shown.push({ image, found, best });
    }
    state.shown.sort(ORDERS[state.sort]);
    state.current = 0;
    const sampled = data.total - data.failed > images.length ? `a random sample of ${images.length.toLocaleString("en")} from ` : "";
    const failed = data.failed ? `, ${data.failed.toLocaleString("en")} failed` : "";
    element("summary").textContent = `${counted(detections, "detection")} in ${counted(state.shown.length, "image")} `
      + `(${sampled}${data.total.toLocaleString("en")}${failed})`;
    const at = state.touched ? state.minAbsolute : data.min_absolute;
    element("min-absolute").textContent = at.toFixed(2);
    listClasses(counts);
    redraw();
  };
  const listClasses = (counts) => {
    const most = [...counts].sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, 60);
    element("classes").replaceChildren(...most.map(([node, count]) => {
      const button = make("button");
      button.type = "button";
      button.append(make("b", "", nodes.names[node]), ` ${count.toLocaleString("en")} `, make("span", `badge b${nodes.badges[node]}`, BADGES[nodes.badges[node]]));
      button.addEventListener("click", () => { element("query").value = `"${nodes.names[node].replace(/["\\]/g, "\\$&")}"`; ask(); });
      return button;
    }));
  };

  // --- one image, large
  const viewer = element("viewer");
  const open = () => {
    if (!state.shown.length) return;
    const { image, found } = state.shown[state.current];
    if (!viewer.open) viewer.showModal();
    const width = Math.min(1060, innerWidth * 0.96 - 36);
    element("figure").replaceChildren(make("h2", "", titleOf(image)), figureOf(image, found, width, innerHeight * 0.6));
    const table = make("table"), head = make("tr");
    for (const [name, className] of [["class", ""], ["score", "number"], ["P", "number"], ["path, with P; best leaf last", ""], ["stopped by", ""], ["training labels", ""]]) head.append(make("th", className, name));
    table.append(head);
    for (const one of found) {
      const step = shownStep(one), node = one.nodes[step], row = make("tr");
      const path = one.nodes.map((part, place) => `${nodes.names[part]} ${one.path[place].toFixed(2)}`).join(" › ");
      row.append(make("td", "", nodes.names[node] + (one.almost ? " (almost)" : "")), make("td", "number", scoreAt(one, step).toFixed(2)),
        make("td", "number", one.path[step].toFixed(2)), make("td", "", path), make("td", "", one.stopped));
      const badge = make("td");
      badge.append(make("span", `badge b${nodes.badges[node]}`, BADGES[nodes.badges[node]]));
      row.append(badge);
      table.append(row);
    }
    const scroll = make("div", "scroll");
    scroll.append(table);
    element("rows").replaceChildren(scroll);
  };
  const select = (rank) => {
    state.current = Math.max(0, Math.min(state.shown.length - 1, rank));
    const top = grid.getBoundingClientRect().top + scrollY + Math.floor(state.current / columns) * rowPx;
    const head = document.querySelector("header").offsetHeight;
    if (top < scrollY + head || top + rowPx > scrollY + innerHeight) scrollTo({ top: top - head - 10 });
    redraw();
    grid.setAttribute("aria-activedescendant", `card-${state.current}`);
    if (viewer.open) open();
  };

  // --- controls
  const ask = () => {
    const text = element("query").value.trim();
    try {
      state.query = text ? parse(text) : () => true;
      element("problem").textContent = "";
    } catch (problem) {
      element("problem").textContent = problem.message;
      return;
    }
    update();
  };
  const moveSlider = () => { state.minAbsolute = Number(element("specificity").value); state.touched = true; update(); };
  element("specificity").value = data.min_absolute;
  element("query").addEventListener("input", ask);
  element("specificity").addEventListener("input", moveSlider);
  element("sort").addEventListener("change", (event) => { state.sort = event.target.value; update(); });
  element("almost").addEventListener("change", (event) => { state.almost = event.target.checked; update(); });
  element("close").addEventListener("click", () => viewer.close());
  viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
  addEventListener("keydown", (event) => {
    const inField = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
    const moves = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/" && !inField) element("query").focus();
    else if ((event.key === "[" || event.key === "]") && !inField) {
      element("specificity").value = Number(element("specificity").value) + (event.key === "[" ? -0.05 : 0.05);
      moveSlider();
    } else if (event.key in moves && !inField) select(state.current + (viewer.open ? Math.sign(moves[event.key]) : moves[event.key]));
    else if (event.key === "Enter" && !viewer.open && (event.target === grid || event.target === document.body)) open();
    else return;
    event.preventDefault();
  });
  addEventListener("scroll", draw, { passive: true });
  addEventListener("resize", redraw);
  if (data.failed) {
    const more = data.failed > data.failures.length ? ` (the first ${data.failures.length})` : "";
    element("failures").hidden = false;
    element("failures").querySelector("summary").textContent = `${counted(data.failed, "image")} failed${more}`;
    element("failures").querySelector("ul").append(...data.failures.map(([name, reason]) => make("li", "", reason || name)));
  }
  update();
})();
