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

customElements.define("loupe-paint", Paint);
