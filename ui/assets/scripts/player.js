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

customElements.define("loupe-player", Player);
