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

customElements.define("loupe-map", HeatMap);
