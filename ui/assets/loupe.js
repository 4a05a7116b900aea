// The elements of Loupe's page. Colour tables arrive in window.loupeColours (from techniques/base/drawing).

(() => {
  const view = { opacity: 0.6, unsigned: "turbo", signed: "blue-red" }; // shared by all heat maps on the page
  const VIEW_CHANGED = "loupe-view";

  const decode16 = (base64) => {
    const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    return new Uint16Array(bytes.buffer);
  };

  const loadImage = (url) =>
    new Promise((resolve) => {
      const image = new Image();
      image.onload = () => resolve(image);
      image.onerror = () => resolve(null);
      image.src = url;
    });

  const download = (canvas, name, scale = 1) => {
    const out = document.createElement("canvas");
    out.width = canvas.width * scale;
    out.height = canvas.height * scale;
    const context = out.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(canvas, 0, 0, out.width, out.height);
    const link = document.createElement("a");
    link.href = out.toDataURL("image/png");
    link.download = `${name}.png`;
    link.click();
  };

  // The server's bell hears of this (ui/bell.py).
  const ring = (detail) => document.dispatchEvent(new CustomEvent("ring", { detail }));

  // In the list of models the arrow keys walk, Enter chooses, Escape leaves.
  document.addEventListener("keydown", (event) => {
    const search = event.target.closest?.("#model-search");
    if (!search) return;
    if (event.key === "Escape") document.activeElement.blur();
    if (event.key === "Enter" && !event.isComposing) setTimeout(() => document.activeElement.blur()); // once Gradio has heard of it
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const stops = [search.querySelector("input, textarea"), ...search.querySelectorAll(".lp-model:not(:disabled)")];
    stops[stops.indexOf(event.target) + step]?.focus();
    event.preventDefault();
  });

  // Gradio patches the page in place: it may change an element's attributes and drop the children we made. Each
  // element therefore builds its inside anew when that happens.
  class Element extends HTMLElement {
    static observedAttributes = ["levels", "low", "high", "from", "to", "picture", "width", "height"];

    connectedCallback() {
      this.observer = new MutationObserver(() => { if (!this.isConnected || !this.contains(this.inside)) this.schedule(); });
      this.schedule();
    }

    disconnectedCallback() {
      this.observer?.disconnect();
    }

    attributeChangedCallback() {
      if (this.observer) this.schedule();
    }

    schedule() {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => {
        if (!this.isConnected) return;
        this.observer.disconnect();
        this.inside = this.build();
        this.observer.observe(this, { childList: true });
      }, 0);
    }
  }

  // A heat map over its picture: opacity, colours and the value under the pointer, all without asking the server.
  class HeatMap extends Element {
    build() {
      const width = +this.getAttribute("width");
      const height = +this.getAttribute("height");
      this.signed = this.hasAttribute("signed");
      this.low = +this.getAttribute("low");
      this.high = +this.getAttribute("high");
      [this.from, this.to] = [+this.getAttribute("from"), +this.getAttribute("to")]; // the ends of the scale; some values may lie beyond
      this.levels = decode16(this.getAttribute("levels"));
      const maps = window.loupeColours[this.signed ? "signed" : "unsigned"];
      const options = Object.keys(maps).map((name) => `<option>${name}</option>`).join("");
      this.innerHTML = `
        <div class="lp-canvas"><canvas width="${width}" height="${height}" role="img"></canvas><output></output><i class="lp-mark" hidden></i></div>
        <div class="lp-tools">
          <label>Map <input type="range" min="0" max="1" step="0.02" aria-label="Opacity of the heat map"></label>
          <select aria-label="Colours">${options}</select>
          <button type="button" title="Download this picture">PNG</button>
        </div>
        <div class="lp-scale"><span></span><canvas width="128" height="1"></canvas><span></span></div>`;
      this.canvas = this.querySelector("canvas");
      this.canvas.setAttribute("aria-label", this.getAttribute("name") || "heat map");
      this.canvas.classList.toggle("lp-small", width <= 64);
      if (!this.getAttribute("picture")) this.querySelector("label").hidden = true;
      const [slider, select, button] = this.querySelectorAll("input, select, button");
      slider.oninput = () => { view.opacity = +slider.value; window.dispatchEvent(new Event(VIEW_CHANGED)); };
      select.onchange = () => { view[this.signed ? "signed" : "unsigned"] = select.value; window.dispatchEvent(new Event(VIEW_CHANGED)); };
      button.onclick = () => download(this.canvas, this.getAttribute("name") || "map", Math.max(1, Math.round(640 / width)));
      this.canvas.onpointermove = (event) => this.point(event);
      this.canvas.onpointerleave = () => this.beside().forEach((map) => map.read(null));
      window.removeEventListener(VIEW_CHANGED, this.redraw);
      this.prepare(this.canvas, width, height, slider, select);
      return this.canvas;
    }

    async prepare(canvas, width, height, slider, select) {
      const image = await loadImage(this.getAttribute("picture"));
      if (canvas !== this.canvas || !this.contains(canvas)) return; // built anew meanwhile, or about to be
      const context = canvas.getContext("2d", { willReadFrequently: true });
      if (image) context.drawImage(image, 0, 0, width, height);
      this.base = context.getImageData(0, 0, width, height);
      this.opaque = !image; // nothing lies below
      this.redraw = () => { if (this.contains(canvas)) this.draw(context, slider, select); };
      window.addEventListener(VIEW_CHANGED, this.redraw);
      this.redraw();
    }

    disconnectedCallback() {
      super.disconnectedCallback();
      window.removeEventListener(VIEW_CHANGED, this.redraw);
    }

    draw(context, slider, select) {
      const kind = this.signed ? "signed" : "unsigned";
      slider.value = view.opacity;
      select.value = view[kind];
      const table = window.loupeColours[kind][view[kind]];
      const out = new ImageData(this.base.width, this.base.height);
      const solid = view.opacity ** 4;
      const flat = this.from === this.to; // nothing to tell apart: grey, and the picture shows through
      for (let i = 0; i < this.levels.length; i++) {
        const level = Math.min(1, Math.max(0, (this.value(i) - this.from) / (this.to - this.from)));
        const colour = Math.round(level * 255) * 3;
        const strength = flat ? 0 : this.signed ? Math.sqrt(Math.abs(2 * level - 1)) : 1; // zero lets the picture through
        const alpha = this.opaque ? 1 : Math.max(view.opacity * strength, solid);
        for (let c = 0; c < 3; c++) out.data[4 * i + c] = (1 - alpha) * this.base.data[4 * i + c] + alpha * (flat ? 128 : table[colour + c]);
        out.data[4 * i + 3] = 255;
      }
      context.putImageData(out, 0, 0);
      this.drawScale(table);
    }

    drawScale(table) {
      const [left, bar, right] = this.querySelector(".lp-scale").children;
      const context = bar.getContext("2d");
      const strip = context.createImageData(128, 1);
      for (let i = 0; i < 128; i++) strip.data.set([table[6 * i], table[6 * i + 1], table[6 * i + 2], 255], 4 * i);
      context.putImageData(strip, 0, 0);
      left.textContent = `${this.low < this.from ? "≤ " : ""}${format(this.from)}`;
      right.textContent = `${this.high > this.to ? "≥ " : ""}${format(this.to)} ${this.getAttribute("unit") || ""}`;
    }

    value(index) {
      return this.low + (this.levels[index] / 65535) * (this.high - this.low);
    }

    // Maps beside each other are read at the same place.
    beside() {
      const gallery = this.closest(".lp-gallery:not(.lp-panel)");
      return gallery ? [...gallery.querySelectorAll("loupe-map")].filter((map) => map.canvas) : [this];
    }

    point(event) {
      const box = this.canvas.getBoundingClientRect();
      const place = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
      this.beside().forEach((map) => map.read(place.map((share) => Math.min(1 - 1e-9, Math.max(0, share)))));
    }

    // The value at a place, both coordinates from 0 to 1; null ends the reading.
    read(place) {
      const output = this.querySelector("output");
      const mark = this.querySelector(".lp-mark");
      mark.hidden = !place;
      if (!place) { output.textContent = ""; return; }
      const { width, height } = this.canvas;
      const [x, y] = [Math.floor(place[0] * width), Math.floor(place[1] * height)];
      output.textContent = `x ${x}, y ${y}: ${format(this.value(y * width + x))}`;
      [mark.style.left, mark.style.top] = place.map((share) => `${100 * share}%`);
    }
  }

  const format = (value) => (value === 0 ? "0" : Math.abs(value) >= 1e-3 && Math.abs(value) < 1e4 ? Number(value.toPrecision(3)).toString() : value.toExponential(1));

  // A run that is replayed: the slider, its arrow keys and Play move through the frames. It is played once when it comes, unless
  // the system asks for less motion. Curves of the same technique that have a value for each frame move along: a line marks the
  // place, and the place under the pointer is shown.
  class Player extends Element {
    static observedAttributes = [...Element.observedAttributes, "frames", "names", "rate"];

    build() {
      this.frames = this.getAttribute("frames").split(",");
      this.names = JSON.parse(this.getAttribute("names") || "[]");
      const [width, height] = [+this.getAttribute("width"), +this.getAttribute("height")];
      this.innerHTML = `
        <div class="lp-canvas"><canvas width="${width}" height="${height}" role="img"></canvas></div>
        <p class="lp-frame"></p>
        <div class="lp-tools">
          <button type="button" data-do="play">Play</button>
          <label><input type="range" min="0" max="${this.frames.length - 1}" step="1" aria-label="Frame"></label>
          <span>${["GIF", "MP4"].map((kind) => `<button type="button" data-film="${kind.toLowerCase()}" title="Download the replay as ${kind}">${kind}</button>`).join(" ")}</span>
        </div>`;
      const before = this.canvas;
      this.canvas = this.querySelector("canvas");
      if (before) this.canvas.getContext("2d").drawImage(before, 0, 0, width, height); // until the new frame is there
      this.canvas.classList.toggle("lp-small", width <= 64);
      this.querySelector(".lp-tools").hidden = this.frames.length < 2;
      this.slider = this.querySelector("input");
      this.slider.oninput = () => { this.pause(); this.go(+this.slider.value); };
      this.querySelector("[data-do]").onclick = () => (this.playing ? this.pause() : this.play());
      this.querySelectorAll("[data-film]").forEach((button) => { button.onclick = () => this.save(button.dataset.film); });
      const coming = this.getAttribute("frames") !== this.known;
      this.known = this.getAttribute("frames");
      this.images = [];
      this.pause();
      this.go(coming ? this.frames.length - 1 : this.index);
      this.load(coming);
      return this.canvas;
    }

    async load(coming) {
      const canvas = this.canvas;
      const images = await Promise.all(this.frames.map((frame) => loadImage(`data:image/${this.getAttribute("kind")};base64,${frame}`)));
      if (canvas !== this.canvas || !this.contains(canvas)) return; // built anew meanwhile
      this.images = images;
      this.go(this.index);
      if (coming && images.length > 1 && !matchMedia("(prefers-reduced-motion: reduce)").matches) this.play();
    }

    play() {
      this.pause();
      if (this.index === this.frames.length - 1) this.go(0);
      this.playing = setInterval(() => {
        if (!this.isConnected || this.index >= this.frames.length - 1) this.pause();
        else this.go(this.index + 1);
      }, 1000 / this.getAttribute("rate"));
      this.querySelector("[data-do]").textContent = "Pause";
    }

    pause() {
      clearInterval(this.playing);
      this.playing = null;
      const button = this.querySelector("[data-do]");
      if (button) button.textContent = "Play";
    }

    go(index) {
      this.index = index;
      const context = this.canvas.getContext("2d");
      if (this.images[index]) context.drawImage(this.images[index], 0, 0, this.canvas.width, this.canvas.height);
      const name = this.names[index] || `${index + 1} of ${this.frames.length}`;
      this.querySelector(".lp-frame").textContent = name;
      this.canvas.setAttribute("aria-label", `${this.getAttribute("name")}, ${name}`);
      this.slider.value = index;
      this.slider.setAttribute("aria-valuetext", name);
      this.charts().forEach((chart) => this.mark(chart));
    }

    charts() {
      const charts = [...(this.closest("[id^='tab-']")?.querySelectorAll(".lp-chart svg") || [])];
      return charts.filter((chart) => chart.querySelectorAll("[data-at]").length === this.frames.length);
    }

    mark(chart) {
      const place = chart.querySelectorAll("[data-at]")[this.index];
      let line = chart.querySelector(".lp-place");
      if (!line) {
        line = document.createElementNS("http://www.w3.org/2000/svg", "line");
        line.setAttribute("class", "lp-place");
        chart.insertBefore(line, chart.querySelector("[data-at]"));
      }
      const [top, height] = [+place.getAttribute("y"), +place.getAttribute("height")];
      Object.entries({ x1: place.dataset.at, x2: place.dataset.at, y1: top, y2: top + height }).forEach(([name, value]) => line.setAttribute(name, value));
    }

    save(kind) {
      const path = this.closest("[data-path]")?.dataset.path;
      ring({ ring: "film", kind, place: this.closest(".block[id]")?.id, path: path ? JSON.parse(path) : null });
    }
  }

  // The place of a curve under the pointer is shown by the players that go along with it; a press stops what they play.
  const follow = (event) => {
    const place = event.target.closest?.("[data-at]");
    const chart = place?.closest("svg");
    for (const player of chart?.closest("[id^='tab-']")?.querySelectorAll("loupe-player") || []) {
      if (!player.frames || !player.charts().includes(chart)) continue;
      if (event.type === "click") player.pause();
      if (!player.playing) player.go([...chart.querySelectorAll("[data-at]")].indexOf(place));
    }
  };
  document.addEventListener("pointerover", follow);
  document.addEventListener("click", follow);

  // Moves through the large browsers of the page are asked for one at a time, of each browser the latest.
  const walks = { wanted: new Map(), patience: 0 };
  const walk = (place, move) => {
    walks.wanted.set(place, { place, ...move });
    if (!walks.patience) walkOn();
  };
  const walkOn = () => {
    clearTimeout(walks.patience);
    walks.patience = 0;
    const [next] = walks.wanted.values();
    if (!next) return;
    walks.wanted.delete(next.place);
    walks.patience = setTimeout(walkOn, 10_000);
    ring({ ring: "walk", ...next });
  };
  const walked = (what) => {
    const panel = document.getElementById(what.place);
    for (const part of ["top", "cell"]) if (part in what) panel.querySelector(`[data-part=${part}]`).innerHTML = what[part];
    panel.querySelector("loupe-axes")?.show(what);
    walkOn();
  };

  // What walks through a large browser: a list for its outer axis and a slider for the inner one. They live in the shadow tree, so
  // that the element stays as Gradio made it; with another "turn" they begin anew.
  class Axes extends HTMLElement {
    static observedAttributes = ["turn"];

    connectedCallback() {
      this.build();
    }

    attributeChangedCallback() {
      if (this.isConnected) this.build();
    }

    get place() {
      return this.closest(".block[id]").id;
    }

    build() {
      if (!this.shadowRoot) this.attachShadow({ mode: "open" });
      const { outer, outerLabel, innerLabel, count } = JSON.parse(this.getAttribute("axes"));
      this.shadowRoot.innerHTML = `
        <style>
          :host { display: block; margin-bottom: 12px; }
          div { display: flex; flex-wrap: wrap; gap: 8px 16px; }
          label { display: flex; align-items: center; gap: 8px; flex: 1 1 240px; min-width: 0; font-size: 12.5px; color: var(--lp-soft); }
          label[hidden] { display: none; }
          span { flex: none; }
          select, input[type=number] { font: inherit; font-size: 13px; color: var(--body-text-color); background: var(--input-background-fill); border: 1px solid var(--lp-line); border-radius: 8px; padding: 6px 9px; min-width: 0; }
          select { flex: 1; cursor: pointer; }
          option { color: #1c1a18; background: #fff; }
          input[type=range] { flex: 1; min-width: 60px; accent-color: var(--loupe-accent); }
          input[type=number] { width: 64px; }
        </style>
        <div><label class="lp-outer"><span></span><select></select></label>
        <label class="lp-inner"><span></span><input type="range" min="1" step="1"><input type="number" min="1" step="1"></label></div>`;
      [this.list, this.slider, this.number] = this.shadowRoot.querySelectorAll("select, input");
      [this.outer, this.innerLabel] = [outer, innerLabel];
      this.shadowRoot.querySelector(".lp-outer").hidden = !outer.length;
      this.shadowRoot.querySelector(".lp-outer span").textContent = outerLabel;
      this.list.append(...outer.map((name) => new Option(name, name)));
      this.list.onchange = () => walk(this.place, { outer: this.list.value, inner: 1, turned: true });
      this.slider.oninput = () => this.go(+this.slider.value);
      this.number.onchange = () => this.go(Math.min(this.count, Math.max(1, Math.round(+this.number.value) || 1)));
      this.show({ count, inner: 1 });
    }

    go(inner) {
      this.show({ inner });
      walk(this.place, { outer: this.list.value, inner });
    }

    // Where it is now, or how many there are now.
    show({ outer, inner, count }) {
      if (outer !== undefined) this.list.value = outer;
      if (count !== undefined) {
        this.count = this.slider.max = this.number.max = +count;
        this.shadowRoot.querySelector(".lp-inner").hidden = this.count < 2;
        this.shadowRoot.querySelector(".lp-inner span").textContent = `${this.innerLabel} (of ${count})`;
      }
      if (inner ?? count) this.slider.value = this.number.value = inner ?? 1;
    }
  }

  // A small picture of a browser opens its cell; a click on a tick of a chart goes to its place in the browsers of the same technique.
  document.addEventListener("click", (event) => {
    const opens = event.target.closest?.("[data-place]");
    if (opens) opens.closest(".lp-browser")?.querySelector("loupe-axes").go(+opens.dataset.place);
    const tick = event.target.closest?.("[data-tick]");
    for (const axes of tick?.closest("[id^='tab-']")?.querySelectorAll("loupe-axes") || []) walk(axes.place, { tick: tick.dataset.tick });
  });

  // Several views in one place, one shown at a time; children carry data-name. The pills live in the shadow tree and
  // a view is shown by giving it the slot, so that the children stay as Gradio made them.
  class Switch extends HTMLElement {
    connectedCallback() {
      if (!this.shadowRoot) {
        this.attachShadow({ mode: "open", slotAssignment: "manual" }).innerHTML = `
          <style>
            .lp-pills { display: flex; flex-wrap: wrap; gap: 6px; margin-bottom: 12px; }
            button { font: inherit; font-size: 12.5px; color: inherit; background: none; border: 1px solid var(--lp-line); border-radius: 8px; padding: 4px 9px; cursor: pointer; }
            button:hover { border-color: var(--loupe-accent); }
            button[aria-selected="true"] { background: var(--body-text-color); color: var(--body-background-fill); border-color: var(--body-text-color); }
          </style>
          <div class="lp-pills" role="tablist"></div><slot></slot>`;
      }
      this.observer = new MutationObserver(() => this.build());
      this.observer.observe(this, { childList: true, subtree: true, attributes: true, attributeFilter: ["data-name"] });
      this.build();
    }

    disconnectedCallback() {
      this.observer.disconnect();
    }

    build() {
      const views = [...this.children];
      const pills = this.shadowRoot.querySelector(".lp-pills");
      const names = views.map((child) => child.dataset.name || "");
      if (names.join("|") !== this.names) {
        this.names = names.join("|");
        this.index = 0;
        pills.replaceChildren(...names.map((name, index) => {
          const pill = document.createElement("button");
          pill.type = "button";
          pill.setAttribute("role", "tab");
          pill.textContent = name;
          pill.onclick = () => { this.index = index; this.build(); };
          return pill;
        }));
      }
      [...pills.children].forEach((pill, index) => pill.setAttribute("aria-selected", index === this.index));
      this.shadowRoot.querySelector("slot").assign(...views.slice(this.index, this.index + 1));
    }
  }

  // A table that is sorted by a press on a column's head, numbers by size, and once more the other way round. With the
  // attribute "filter" it has a box that keeps the rows that hold every word typed; that lives in the shadow tree, so that the
  // table stays as Gradio made it. Rows that come later find their place.
  class SortedTable extends HTMLElement {
    connectedCallback() {
      if (!this.shadowRoot) {
        this.attachShadow({ mode: "open" }).innerHTML = `
          <style>
            div { display: flex; align-items: baseline; gap: 12px; margin-bottom: 8px; }
            :host(:not([filter])) div { display: none; }
            input { font: inherit; font-size: 13.5px; color: inherit; background: transparent; border: 1px solid var(--lp-line); border-radius: 8px; padding: 5px 10px; width: min(280px, 60%); }
            input:focus-visible { outline: 2px solid var(--loupe-accent); }
            output { font-size: 12.5px; color: var(--lp-soft); font-variant-numeric: tabular-nums; }
          </style>
          <div><input type="search" placeholder="Filter rows" aria-label="Show only rows with these words"><output></output></div><slot></slot>`;
        this.shadowRoot.querySelector("input").oninput = () => this.filter();
        this.addEventListener("click", (event) => this.press(event.target.closest("thead th")));
      }
      this.observer = new MutationObserver(() => this.arrange());
      this.arrange();
    }

    press(head) {
      if (!head) return;
      const column = head.cellIndex;
      const numbers = [...this.querySelectorAll(`tbody td:nth-child(${column + 1})`)].some((cell) => !Number.isNaN(this.value(cell)));
      this.rising = this.column === column ? !this.rising : !numbers; // what is large is looked for first, among words A
      this.column = column;
      this.arrange();
    }

    // The number that a cell begins with; NaN for words.
    value(cell) {
      return parseFloat(cell.textContent.replace(/,/g, ""));
    }

    arrange() {
      this.observer.disconnect();
      if (this.column !== undefined) this.sort();
      this.filter();
      this.observer.observe(this, { childList: true, characterData: true, subtree: true });
    }

    sort() {
      const body = this.querySelector("tbody");
      const way = this.rising ? 1 : -1;
      const compare = (first, second) => {
        const [one, other] = [first, second].map((row) => this.value(row.cells[this.column]));
        if (Number.isNaN(one) !== Number.isNaN(other)) return Number.isNaN(one) ? 1 : -1; // what has no number comes last
        if (!Number.isNaN(one)) return way * (one - other);
        return way * first.cells[this.column].textContent.localeCompare(second.cells[this.column].textContent);
      };
      const rows = [...body.rows];
      const sorted = [...rows].sort(compare);
      if (sorted.some((row, index) => row !== rows[index])) body.append(...sorted);
      this.querySelectorAll("thead th").forEach((head, index) => {
        if (index === this.column) head.setAttribute("aria-sort", this.rising ? "ascending" : "descending");
        else head.removeAttribute("aria-sort");
      });
    }

    disconnectedCallback() {
      this.observer.disconnect();
    }

    filter() {
      const words = this.shadowRoot.querySelector("input").value.toLowerCase().split(/\s+/).filter(Boolean);
      const rows = [...this.querySelectorAll("tbody tr")];
      let shown = 0;
      for (const row of rows) {
        const text = [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        shown += !row.hidden;
      }
      this.shadowRoot.querySelector("output").textContent = words.length ? `${shown} of ${rows.length} rows` : `${rows.length} rows`;
    }
  }

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

  // Paint with the mouse or a finger: digits in white on black, or areas of a picture, each in a set of its own. An area
  // is the list of what was done to it, so every step can be taken back. Tells of each finished step with a "painted"
  // event whose detail is a PNG of the painting alone, or for areas one PNG for each; and with "marked" of the button.
  class Paint extends Element {
    static observedAttributes = [...Element.observedAttributes, "of", "marks"];
    static PICTURES = 20; // so many have their areas kept, as on the server

    build() {
      this.width = +this.getAttribute("width") || 280;
      this.height = +this.getAttribute("height") || 280;
      this.ink = this.getAttribute("mode") === "ink";
      this.most = +this.getAttribute("areas") || 1;
      const of = this.getAttribute("of");
      if (!this.areas || of !== this.of) this.take(of);
      this.innerHTML = `
        <div class="lp-areas" role="tablist" aria-label="Areas" ${this.most > 1 ? "" : "hidden"}></div>
        <div class="lp-canvas ${this.ink ? "lp-ink" : ""}">
          <img alt="" ${this.getAttribute("picture") ? `src="${this.getAttribute("picture")}"` : "hidden"}>
          <canvas width="${this.width}" height="${this.height}" aria-label="${this.ink ? "Draw a digit here" : "Paint over the picture"}"></canvas>
        </div>
        <div class="lp-tools lp-brushes" role="radiogroup" aria-label="Tool" ${this.ink ? "hidden" : ""}>
          <button type="button" role="radio" data-tool="brush">Brush</button>
          <button type="button" role="radio" data-tool="rectangle">Rectangle</button>
          <button type="button" role="radio" data-tool="eraser">Eraser</button>
        </div>
        <div class="lp-tools">
          <label>Size <input type="range" min="0.02" max="0.3" step="0.01" value="${this.size || (this.ink ? 0.09 : 0.14)}" aria-label="Brush size"></label>
          <button type="button" data-do="undo">Undo</button>
          <button type="button" data-do="clear">Clear</button>
        </div>
        <button type="button" class="lp-marks" ${this.hasAttribute("marks") ? "" : "hidden"}>Cover what Grad-CAM marks</button>`;
      this.canvas = this.querySelector("canvas");
      this.querySelector("input").oninput = (event) => { this.size = +event.target.value; };
      this.querySelector("[data-do=undo]").onclick = () => { if (this.areas[this.current].pop()) this.change(); };
      this.querySelector("[data-do=clear]").onclick = () => this.clear();
      this.querySelectorAll("[data-tool]").forEach((button) => { button.onclick = () => { this.tool = button.dataset.tool; this.show(); }; });
      const marks = this.querySelector(".lp-marks");
      [marks.title, marks.disabled] = [this.getAttribute("marks") || "", Boolean(this.getAttribute("marks"))];
      marks.onclick = () => this.dispatchEvent(new CustomEvent("marked", { bubbles: true }));
      this.canvas.onpointerdown = (event) => this.begin(event);
      this.canvas.onpointermove = (event) => this.go(event);
      this.canvas.onpointerup = this.canvas.onpointercancel = () => this.end();
      this.show();
      return this.canvas;
    }

    // Another picture: what was painted over it before is there again.
    take(of) {
      this.kept ||= new Map();
      const areas = this.kept.get(of) || [[]];
      this.kept.delete(of);
      this.kept.set(of, areas);
      if (this.kept.size > Paint.PICTURES) this.kept.delete(this.kept.keys().next().value);
      [this.areas, this.current, this.of, this.tool] = [areas, 0, of, this.tool || "brush"];
    }

    begin(event) {
      if (!event.isPrimary || event.button > 0) return;
      this.canvas.setPointerCapture(event.pointerId);
      this.step = { tool: this.tool, size: +this.querySelector("input").value * this.width, points: [this.place(event)] };
      this.areas[this.current].push(this.step);
      this.draw();
    }

    go(event) {
      if (!this.step || !event.isPrimary) return;
      this.step.points.push(this.place(event));
      this.draw();
    }

    end() {
      if (!this.step) return;
      const area = this.areas[this.current];
      if (this.step.tool === "rectangle" && !this.sides(this.step).every((side) => side > 0)) area.pop(); // a click that drew nothing
      this.step = null;
      this.change();
    }

    place(event) {
      const box = this.canvas.getBoundingClientRect();
      return [((event.clientX - box.left) / box.width) * this.width, ((event.clientY - box.top) / box.height) * this.height];
    }

    clear() {
      if (this.areas[this.current].length) this.areas[this.current].push({ tool: "clear" });
      this.change();
    }

    remove(index) {
      this.areas.splice(index, 1);
      this.current = Math.min(this.current, this.areas.length - 1);
      this.change();
    }

    // What was done to an area, drawn anew; for an area of a picture every pixel is in it or not.
    paint(canvas, area) {
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.clearRect(0, 0, this.width, this.height);
      context.strokeStyle = context.fillStyle = this.ink ? "#ffffff" : "#ff7a45";
      context.lineCap = context.lineJoin = "round";
      for (const step of area) {
        context.globalCompositeOperation = step.tool === "eraser" ? "destination-out" : "source-over";
        if (step.tool === "clear") context.clearRect(0, 0, this.width, this.height);
        else if (step.tool === "rectangle") context.fillRect(...this.corner(step), ...this.sides(step));
        else this.line(context, step);
      }
      if (this.ink) return;
      const drawn = context.getImageData(0, 0, this.width, this.height);
      for (let i = 3; i < drawn.data.length; i += 4) drawn.data[i] = drawn.data[i] > 127 ? 255 : 0;
      context.putImageData(drawn, 0, 0);
    }

    line(context, step) {
      context.lineWidth = step.size;
      context.beginPath();
      context.moveTo(...step.points[0]);
      for (const [x, y] of step.points) context.lineTo(x + 0.01, y);
      context.stroke();
    }

    corner({ points: [first, ...rest] }) {
      const last = rest.at(-1) || first;
      return [0, 1].map((axis) => Math.max(0, Math.round(Math.min(first[axis], last[axis]))));
    }

    sides(step) {
      const last = step.points.at(-1);
      const corner = this.corner(step);
      return [0, 1].map((axis) => Math.min([this.width, this.height][axis], Math.round(Math.max(step.points[0][axis], last[axis]))) - corner[axis]);
    }

    draw() {
      this.paint(this.canvas, this.areas[this.current]);
    }

    show() {
      this.draw();
      this.querySelectorAll("[data-tool]").forEach((button) => button.setAttribute("aria-checked", button.dataset.tool === this.tool));
      const tabs = this.areas.map((_, index) => this.tab(index));
      if (this.areas.length < this.most) tabs.push(this.button("+", "Another area", () => { this.current = this.areas.push([]) - 1; this.show(); }));
      if (this.areas.length > 1) tabs.push(this.button("Remove", "Remove this area", () => this.remove(this.current)));
      this.querySelector(".lp-areas").replaceChildren(...tabs);
    }

    tab(index) {
      const letter = String.fromCharCode(65 + index);
      const tab = this.button(letter, `Area ${letter}`, () => { this.current = index; this.show(); });
      tab.setAttribute("role", "tab");
      tab.setAttribute("aria-selected", index === this.current);
      return tab;
    }

    button(text, title, press) {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", textContent: text, title, onclick: press });
      return button;
    }

    change() {
      this.show();
      const pictures = this.areas.map((area) => {
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [this.width, this.height];
        this.paint(canvas, area);
        return canvas.toDataURL("image/png");
      });
      this.dispatchEvent(new CustomEvent("painted", { bubbles: true, detail: this.ink ? pictures[0] : pictures }));
    }
  }

  // What pictures may be sent to: one unseen list for the whole page, which the server renews with each model.
  const CHOICES_CHANGED = "loupe-choices";

  class Choices extends HTMLElement {
    connectedCallback() {
      const tell = () => window.dispatchEvent(new Event(CHOICES_CHANGED));
      this.observer = new MutationObserver(tell);
      this.observer.observe(this, { childList: true, subtree: true, attributes: true });
      tell();
    }

    disconnectedCallback() {
      this.observer.disconnect();
    }
  }

  // The ways to send a picture on: alone and, with the attribute "pair", together with the picture it was made from. Tells of
  // a choice with a "sent" event that says which picture it is: data-path and data-item of what it stands in.
  class Send extends HTMLElement {
    static observedAttributes = ["pair"];

    connectedCallback() {
      if (!this.shadowRoot) {
        this.attachShadow({ mode: "open" }).innerHTML = `
          <style>
            div { display: flex; flex-wrap: wrap; gap: 6px; margin-top: 10px; max-width: 420px; }
            select { flex: 1 1 120px; min-width: 0; font: inherit; font-size: 12.5px; color: inherit; background: transparent; border: 1px solid var(--lp-line); border-radius: 8px; padding: 4px 9px; cursor: pointer; }
            select:hover { border-color: var(--loupe-accent); }
            option, optgroup { color: #1c1a18; background: #fff; }
            option:disabled { color: #8d867c; }
          </style><div></div>`;
      }
      this.build = () => this.shadowRoot.querySelector("div").replaceChildren(...this.lists());
      window.addEventListener(CHOICES_CHANGED, this.build);
      this.build();
    }

    disconnectedCallback() {
      window.removeEventListener(CHOICES_CHANGED, this.build);
    }

    attributeChangedCallback() {
      this.build?.();
    }

    lists() {
      const lists = [this.list("picture", "lp-send", "Send to …", "Send this picture to")];
      if (this.hasAttribute("pair")) lists.push(this.list("pair", "lp-send-pair", "Send both to …", "Send this picture, with the one it was made from, to"));
      return lists;
    }

    list(what, name, title, label) {
      const select = document.createElement("select");
      select.className = name;
      select.setAttribute("aria-label", label);
      select.append(new Option(title, ""));
      for (const family of document.querySelectorAll("loupe-choices optgroup")) {
        const group = family.cloneNode(true);
        group.querySelectorAll(`option:not([data-${what}])`).forEach((option) => option.remove());
        if (group.children.length) select.append(group);
      }
      select.onchange = () => {
        const path = this.closest("[data-path]")?.dataset.path;
        const item = this.closest("[data-item]")?.dataset.item;
        const place = this.closest(".block[id]")?.id;
        const within = this.closest("[id^='tab-']")?.id.slice(4);
        const detail = { what, place, within, technique: select.value, path: path ? JSON.parse(path) : null, item: item === undefined ? null : +item };
        select.value = "";
        this.dispatchEvent(new CustomEvent("sent", { bubbles: true, detail }));
      };
      return select;
    }
  }

  // There is one set of pictures; it is brought to the technique that is looked at, when it takes a set. It comes to stand
  // beside the block that holds this place, not in it: Gradio would dress its buttons as text of a page.
  class TrayPlace extends HTMLElement {
    connectedCallback() {
      this.observer = new ResizeObserver(() => { if (this.offsetParent) this.closest(".block").after(document.getElementById("tray-box")); });
      this.observer.observe(this);
    }

    disconnectedCallback() {
      this.observer.disconnect();
    }
  }

  customElements.define("loupe-tray-place", TrayPlace);
  customElements.define("loupe-axes", Axes);
  customElements.define("loupe-map", HeatMap);
  customElements.define("loupe-player", Player);
  customElements.define("loupe-switch", Switch);
  customElements.define("loupe-table", SortedTable);
  customElements.define("loupe-scatter", ScatterMap);
  customElements.define("loupe-paint", Paint);
  customElements.define("loupe-choices", Choices);
  customElements.define("loupe-send", Send);

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-save]");
    if (button) {
      const image = button.closest("figure").querySelector("img");
      const link = document.createElement("a");
      link.href = image.src;
      link.download = `${button.dataset.save}.png`;
      link.click();
    }
    if (event.target.closest?.(".lp-theme")) {
      const dark = !document.body.classList.contains("dark");
      localStorage.setItem("loupe-theme", dark ? "dark" : "light");
      document.body.classList.toggle("dark", dark);
    }
  });

  document.addEventListener("click", (event) => {
    const measure = event.target.closest?.("[data-ring=measure]");
    if (measure) document.getElementById(`${measure.dataset.technique}-trust`)?.classList.remove("lp-earlier");
  });

  // A press on Run shows at once that it was heard: what others run may come first.
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("button[id$='-run']");
    const status = button && document.getElementById(button.id.replace(/run$/, "status"));
    if (!status) return;
    document.getElementById(button.id.replace(/run$/, "trust"))?.classList.add("lp-earlier"); // what was measured is of an earlier answer
    status.classList.add("lp-waiting");
    new MutationObserver((_, observer) => {
      status.classList.remove("lp-waiting");
      observer.disconnect();
    }).observe(status, { childList: true, subtree: true, characterData: true });
  });

  // The server tells the page an address to show (what other sites and Gradio keep there stays) or a technique to run, once
  // its tab is there and its button can be pressed.
  const show = (query) => {
    const foreign = [...new URLSearchParams(location.search)].filter(([name]) => name.startsWith("__")).map(([name, value]) => `&${name}=${encodeURIComponent(value)}`);
    history.replaceState(history.state, "", `${location.pathname}?${query}${foreign.join("")}${location.hash}`);
    if (window.parent !== window) window.parent.postMessage({ queryString: query }, "https://huggingface.co"); // the page around a Space
  };
  const press = (technique, patience = 150) => {
    const button = document.getElementById(`${technique}-run`);
    if (button && !button.disabled) button.click();
    else if (patience) setTimeout(() => press(technique, patience - 1), 100);
  };
  let turn;
  window.loupe = {
    told: (what) => {
      if (what.turn === turn) return;
      turn = what.turn;
      if (what.query) show(what.query);
      if (what.press) press(what.press);
      if (what.place) walked(what);
      if (what.scroll) document.getElementById(what.scroll).scrollIntoView({ block: "start", behavior: "smooth" });
    },
  };

  // Gradio follows the system when it starts; what the visitor has chosen here wins, whenever that is.
  const keepTheme = () => {
    const stored = localStorage.getItem("loupe-theme");
    if (stored && document.body.classList.contains("dark") !== (stored === "dark")) document.body.classList.toggle("dark");
  };
  const watchTheme = () => {
    keepTheme();
    new MutationObserver(keepTheme).observe(document.body, { attributeFilter: ["class"] });
  };
  if (!new URLSearchParams(location.search).has("__theme")) {
    if (document.body) watchTheme(); else document.addEventListener("DOMContentLoaded", watchTheme);
  }
})();
