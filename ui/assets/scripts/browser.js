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
// that the element stays as Gradio made it; with another "turn", which is written last, they begin anew, "at" the place where the
// visitor stood.
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
    const { outer, outerLabel, innerLabel, count, at } = JSON.parse(this.getAttribute("axes"));
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
    this.show({ outer: at.outer ?? undefined, count, inner: at.inner });
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

customElements.define("loupe-axes", Axes);
customElements.define("loupe-switch", Switch);
