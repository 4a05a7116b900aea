// A map of points on a canvas, as dots in the colours of their groups or as their pictures: hover names a point, a click shows it
// with its nearest neighbours and sends it on. Groups are marked from the legend, and from tables beside the map.
class ScatterMap extends Element {
  static observedAttributes = [...Element.observedAttributes, "points", "sheet"];
  static MARGIN = 26; // px
  static REACH = 14; // px; so near a point the pointer means it
  static NAMED = 24; // groups in the legend

  build() {
    this.told = JSON.parse(this.getAttribute("points"));
    const { names, groupings, tile } = this.told;
    const of = names.join("\n");
    if (of !== this.of) [this.of, this.selected, this.wanted, this.zoom, this.centre, this.asPictures] = [of, null, null, 1, null, names.length <= 150];
    if (!(this.grouping in groupings)) [this.grouping] = Object.keys(groupings);
    this.innerHTML = `
      <div class="lp-map">
        <div class="lp-tools lp-choices">
          <span role="radiogroup" aria-label="Colour by" ${Object.keys(groupings).length > 1 ? "" : "hidden"}></span>
          <span role="radiogroup" aria-label="Points as" ${tile ? "" : "hidden"}><button type="button" role="radio" data-as="pictures">Pictures</button><button type="button" role="radio" data-as="dots">Dots</button></span>
          <span><button type="button" data-zoom="0.625" aria-label="Zoom out">−</button><button type="button" data-zoom="1.6" aria-label="Zoom in">+</button><button type="button" data-zoom="0">All</button></span>
          <button type="button" data-do="save" title="Download this picture">PNG</button>
        </div>
        <div class="lp-plane"><canvas tabindex="0" role="img"></canvas><div class="lp-tip" hidden></div></div>
        <aside class="lp-point"></aside>
        <div class="lp-legend"></div>
        <p class="lp-told" hidden><span></span> <button type="button">Show all</button></p>
        <i class="lp-swatches" hidden>${this.told.colours.map((colour) => `<i style="color:${colour}"></i>`).join("")}</i>
      </div>`;
    this.canvas = this.querySelector("canvas");
    this.canvas.setAttribute("aria-label", `${this.getAttribute("name")} ${names.length} points; the arrow keys walk through them.`);
    this.querySelector("[aria-label='Colour by']").replaceChildren(...Object.keys(groupings).map((grouping) => this.button(grouping, () => { this.grouping = grouping; this.update(); }, { role: "radio", "data-grouping": grouping })));
    this.querySelectorAll("[data-as]").forEach((button) => { button.onclick = () => { this.asPictures = button.dataset.as === "pictures"; this.update(); }; });
    this.querySelectorAll("[data-zoom]").forEach((button) => { button.onclick = () => this.zoomBy(+button.dataset.zoom); });
    this.querySelector("[data-do=save]").onclick = () => download(this.canvas, "map");
    this.querySelector(".lp-told button").onclick = () => this.mark(null);
    this.listen();
    this.load();
    this.update();
    return this.canvas;
  }

  listen() {
    const { canvas } = this;
    canvas.onpointerdown = (event) => { this.held = { x: event.clientX, y: event.clientY, moved: false }; };
    canvas.onpointermove = (event) => this.move(event);
    canvas.onpointerleave = () => { this.held = null; this.point(null); };
    canvas.onclick = (event) => {
      const moved = this.held?.moved;
      this.held = null;
      if (!moved) this.select(this.at(event)?.point ?? null);
    };
    canvas.ondblclick = (event) => this.zoomBy(1.6, event);
    canvas.onkeydown = (event) => this.key(event);
    this.sizes?.disconnect();
    this.sizes = new ResizeObserver(() => this.draw());
    this.sizes.observe(this.querySelector(".lp-plane"));
    this.theme?.disconnect();
    this.theme = new MutationObserver(() => this.draw());
    this.theme.observe(document.body, { attributeFilter: ["class"] });
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    this.sizes?.disconnect();
    this.theme?.disconnect();
  }

  async load() {
    const url = this.getAttribute("sheet");
    if (url === this.url) return;
    [this.url, this.sheet] = [url, null];
    const sheet = url && (await loadImage(url));
    if (url !== this.url) return; // another one came meanwhile
    this.sheet = sheet;
    if (this.contains(this.canvas)) this.update();
  }

  button(text, press, attributes = {}) {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", textContent: text, onclick: press });
    Object.entries(attributes).forEach(([name, value]) => button.setAttribute(name, value));
    return button;
  }

  // The small picture of a point on a canvas of its own, as large as asked for.
  thumbnail(index, side) {
    const canvas = document.createElement("canvas");
    const [width, height] = this.told.tile || [1, 1];
    const scale = side / Math.max(width, height);
    [canvas.width, canvas.height] = [width, height];
    [canvas.style.width, canvas.style.height] = [`${width * scale}px`, `${height * scale}px`];
    if (this.sheet) canvas.getContext("2d").drawImage(this.sheet, ...this.tile(index), 0, 0, width, height);
    else canvas.hidden = true;
    return canvas;
  }

  tile(index) {
    const [width, height, columns] = this.told.tile;
    return [(index % columns) * width, Math.floor(index / columns) * height, width, height];
  }

  // The points that are marked: all, or those in the wanted group of each grouping; a grouping that is not there counts none out.
  isMarked(index) {
    return Object.entries(this.hovered || this.wanted || {}).every(([grouping, group]) => {
      const numbers = this.told.groupings[grouping];
      return !numbers || this.told.groups[numbers[index]] === group;
    });
  }

  mark(wanted) {
    const { groupings, groups } = this.told;
    if (Object.entries(wanted || {}).some(([grouping, group]) => grouping in groupings && !groups.includes(group))) return; // several together
    this.hovered = null;
    this.wanted = JSON.stringify(wanted) === JSON.stringify(this.wanted) ? null : wanted;
    this.update();
  }

  zoomBy(factor, event) {
    const before = event && this.inverse(event);
    this.zoom = factor ? Math.min(40, Math.max(1, this.zoom * factor)) : 1;
    if (this.zoom === 1) this.centre = null;
    else if (before) this.centre = before;
    this.draw();
  }

  // Where the points are drawn: from the grid of the server, which has y upwards, to pixels of the canvas as the page counts them.
  frame() {
    const all = [...this.told.points, ...this.told.path];
    const [low, high] = [Math.min, Math.max].map((end) => [0, 1].map((axis) => all.reduce((found, place) => end(found, place[axis]), all[0]?.[axis] ?? 0)));
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    const scale = this.zoom * Math.min(...[width, height].map((side, axis) => (side - 2 * ScatterMap.MARGIN) / Math.max(1, high[axis] - low[axis])));
    const centre = this.centre || [0, 1].map((axis) => (low[axis] + high[axis]) / 2);
    return { width, height, scale, centre };
  }

  place([x, y]) {
    const { width, height, scale, centre } = this.drawn;
    return [width / 2 + (x - centre[0]) * scale, height / 2 - (y - centre[1]) * scale];
  }

  inverse(event) {
    const { width, height, scale, centre } = this.drawn;
    const box = this.canvas.getBoundingClientRect();
    return [centre[0] + (event.clientX - box.left - width / 2) / scale, centre[1] - (event.clientY - box.top - height / 2) / scale];
  }

  // The step of the path or the point under the pointer.
  at(event) {
    const box = this.canvas.getBoundingClientRect();
    const near = (places, reach) => {
      let found = null;
      places.forEach((place, index) => {
        const [x, y] = this.place(place);
        const distance = Math.hypot(x - event.clientX + box.left, y - event.clientY + box.top);
        if (distance <= (found?.distance ?? reach)) found = { index, distance };
      });
      return found;
    };
    const step = near(this.told.path, 6);
    if (step && step.index) return { step: step.index };
    const point = near(this.told.points, Math.max(ScatterMap.REACH, this.side / 2));
    return point && { point: point.index };
  }

  move(event) {
    if (this.held && event.buttons && this.zoom > 1) {
      const [x, y] = [event.clientX - this.held.x, event.clientY - this.held.y];
      if (!this.held.moved && Math.hypot(x, y) < 4) return;
      const { centre, scale } = this.drawn;
      this.centre = [centre[0] - x / scale, centre[1] + y / scale];
      this.held = { x: event.clientX, y: event.clientY, moved: true };
      this.draw();
      return;
    }
    this.point(this.at(event));
  }

  // What is under the pointer, said beside it.
  point(found) {
    const tip = this.querySelector(".lp-tip");
    this.canvas.style.cursor = found ? "pointer" : this.zoom > 1 ? "grab" : "default";
    tip.hidden = !found;
    if (!found) return;
    const { points, path, pathNames, names, notes } = this.told;
    const onPath = found.step !== undefined;
    const words = document.createElement("span");
    words.append(onPath ? "On the path" : names[found.point], document.createElement("br"), (onPath ? pathNames[found.step] : notes[found.point]) || "");
    tip.replaceChildren(...(!onPath && this.sheet ? [this.thumbnail(found.point, 56)] : []), words);
    const [x, y] = this.place(onPath ? path[found.step] : points[found.point]);
    const right = x > this.drawn.width / 2;
    Object.assign(tip.style, { left: right ? "" : `${x + 14}px`, right: right ? `${this.drawn.width - x + 14}px` : "", top: `${Math.max(4, Math.min(y - 20, this.drawn.height - 74))}px` });
  }

  key(event) {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const count = this.told.points.length;
    if (step) this.select(this.selected === null ? 0 : (this.selected + step + count) % count);
    else if (event.key === "Escape") this.select(null);
    else return;
    event.preventDefault();
  }

  select(index) {
    this.selected = index;
    this.update();
  }

  update() {
    const set = (name, value) => this.querySelectorAll(`[data-${name}]`).forEach((button) => button.setAttribute("aria-checked", button.dataset[name] === value));
    set("grouping", this.grouping);
    set("as", this.asPictures ? "pictures" : "dots");
    this.legend();
    this.card();
    const marked = this.wanted ? this.told.points.filter((_, index) => this.isMarked(index)).length : 0;
    this.querySelector(".lp-told").hidden = !this.wanted;
    this.querySelector(".lp-told span").textContent = `${marked} of ${this.told.points.length}: ${Object.entries(this.wanted || {}).filter(([grouping]) => grouping in this.told.groupings).map((pair) => pair.join(" ")).join(", ")}`;
    this.draw();
  }

  legend() {
    const counts = new Map();
    for (const group of this.told.groupings[this.grouping] || []) counts.set(group, (counts.get(group) || 0) + 1);
    const groups = [...counts].sort(([one], [other]) => one - other);
    const entries = groups.slice(0, ScatterMap.NAMED).map(([group, count]) => {
      const wanted = { [this.grouping]: this.told.groups[group] };
      const entry = this.button(`${this.told.groups[group]} `, () => this.mark(wanted), { "aria-pressed": JSON.stringify(wanted) === JSON.stringify(this.wanted) });
      entry.append(Object.assign(document.createElement("span"), { textContent: count }));
      entry.style.setProperty("--colour", this.told.colours[Math.min(group, this.told.colours.length - 1)]);
      entry.onpointerenter = () => { this.hovered = wanted; this.draw(); };
      entry.onpointerleave = () => { this.hovered = null; this.draw(); };
      return entry;
    });
    if (groups.length > entries.length) entries.push(`and ${groups.length - entries.length} more`);
    this.querySelector(".lp-legend").replaceChildren(...entries);
  }

  // The point that was clicked: its picture, what is known of it, its neighbours, and ways to send it on.
  card() {
    const card = this.querySelector(".lp-point");
    const { names, notes, groupings, groups, neighbours, send } = this.told;
    const index = this.selected;
    card.classList.toggle("lp-none", index === null);
    if (index === null) {
      card.textContent = "Click a point to see its picture and its neighbours.";
      return;
    }
    const line = (name, text) => {
      const line = document.createElement("p");
      line.append(`${name} `, Object.assign(document.createElement("b"), { textContent: text }));
      return line;
    };
    const [first, ...others] = Object.keys(groupings);
    const parts = [this.thumbnail(index, 168), Object.assign(document.createElement("h5"), { textContent: names[index] }), line(first, notes[index] || groups[groupings[first][index]])];
    parts.push(...others.map((grouping) => line(grouping, groups[groupings[grouping][index]])));
    if (neighbours.length) parts.push(Object.assign(document.createElement("p"), { textContent: "Nearest by features" }), this.row(neighbours[index]));
    if (send) {
      const place = document.createElement("div");
      place.dataset.item = index;
      place.append(document.createElement("loupe-send"));
      parts.push(place);
    }
    card.replaceChildren(...parts);
  }

  row(indices) {
    const row = document.createElement("div");
    row.className = "lp-near";
    row.append(...indices.map((index) => {
      const said = [this.told.names[index], this.told.notes[index]].filter(Boolean).join(": ");
      const button = this.button(this.sheet ? "" : this.told.names[index], () => this.select(index), { title: said, "aria-label": said });
      if (this.sheet) button.append(this.thumbnail(index, 44));
      const colour = Math.min(this.told.groupings[this.grouping][index], this.told.colours.length - 1);
      button.style.setProperty("--colour", this.told.colours[colour]);
      return button;
    }));
    return row;
  }

  draw() {
    const { canvas, told } = this;
    const density = window.devicePixelRatio || 1;
    this.drawn = this.frame();
    if (!this.drawn.width) return; // not to be seen yet
    [canvas.width, canvas.height] = [this.drawn.width * density, this.drawn.height * density];
    const context = canvas.getContext("2d");
    context.scale(density, density);
    const colours = [...this.querySelectorAll(".lp-swatches i")].map((swatch) => getComputedStyle(swatch).color);
    const ink = { line: getComputedStyle(this).color, paper: getComputedStyle(this).getPropertyValue("--lp-card") || "#fff" };
    const count = told.points.length;
    const grown = Math.min(2.2, Math.sqrt(this.zoom)) * Math.max(0.7, Math.min(1, this.drawn.width / 640));
    this.side = this.asPictures && this.sheet ? (count <= 40 ? 46 : count <= 150 ? 34 : count <= 400 ? 24 : 18) * grown : (count < 150 ? 12 : count < 500 ? 9 : 7) * grown;
    const near = this.selected === null ? [] : told.neighbours[this.selected] || [];
    const order = told.points.map((_, index) => index).sort((one, other) => this.rank(one, near) - this.rank(other, near));
    for (const index of order) {
      if (index === this.selected) this.rays(context, near, ink);
      const group = told.groupings[this.grouping]?.[index] ?? 0;
      context.globalAlpha = this.isMarked(index) ? 1 : 0.1;
      this.one(context, index, colours[Math.min(group, colours.length - 1)], ink);
    }
    context.globalAlpha = 1;
    if (told.path.length) this.way(context, ink);
  }

  // What is drawn later lies above: the selected point above its neighbours, these above what is marked.
  rank(index, near) {
    return index === this.selected ? 4 : near.includes(index) ? 3 : index === this.told.current ? 2 : this.isMarked(index) ? 1 : 0;
  }

  one(context, index, colour, ink) {
    const [x, y] = this.place(this.told.points[index]);
    const chosen = index === this.selected;
    if (this.asPictures && this.sheet) {
      const [width, height] = this.told.tile.map((side) => (side / Math.max(...this.told.tile.slice(0, 2))) * this.side * (chosen ? 1.25 : 1));
      const corner = [x - width / 2, y - height / 2];
      const edge = (extra, style) => { context.fillStyle = style; context.beginPath(); context.roundRect(corner[0] - extra, corner[1] - extra, width + 2 * extra, height + 2 * extra, 4); context.fill(); };
      if (chosen || index === this.told.current) { edge(5, ink.line); edge(3.5, ink.paper); }
      edge(2, colour);
      context.drawImage(this.sheet, ...this.tile(index), ...corner, width, height);
      return;
    }
    const radius = (this.side / 2) * (chosen ? 1.4 : 1);
    const disc = (size, style) => { context.fillStyle = style; context.beginPath(); context.arc(x, y, size, 0, 7); context.fill(); };
    if (chosen || index === this.told.current) disc(radius + 4, ink.line);
    disc(radius + (chosen || index === this.told.current ? 2.5 : 0.8), ink.paper);
    disc(radius, colour);
  }

  rays(context, near, ink) {
    context.globalAlpha = 0.55;
    context.strokeStyle = ink.line;
    context.lineWidth = 1.2;
    for (const index of near) {
      context.beginPath();
      context.moveTo(...this.place(this.told.points[this.selected]));
      context.lineTo(...this.place(this.told.points[index]));
      context.stroke();
    }
  }

  // The path from the current point: a line with a dot at each step and a ring at the end.
  way(context, ink) {
    const places = this.told.path.map((place) => this.place(place));
    context.lineJoin = context.lineCap = "round";
    for (const [width, style] of [[5, ink.paper], [2, ink.line]]) {
      [context.lineWidth, context.strokeStyle] = [width, style];
      context.beginPath();
      places.forEach((place, index) => (index ? context.lineTo(...place) : context.moveTo(...place)));
      context.stroke();
    }
    places.forEach((place, index) => {
      const last = index === places.length - 1;
      context.beginPath();
      context.arc(...place, last ? 6 : 2.6, 0, 7);
      context.fillStyle = last ? ink.paper : ink.line;
      context.fill();
      if (last) context.stroke();
    });
  }
}

// A number in a table that counts points of a map in the same tab marks them.
document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-marks]");
  const map = button?.closest("[id^='tab-']")?.querySelector("loupe-scatter");
  if (!map) return;
  map.mark(JSON.parse(button.dataset.marks));
  map.scrollIntoView({ block: "nearest", behavior: "smooth" });
});

customElements.define("loupe-scatter", ScatterMap);
