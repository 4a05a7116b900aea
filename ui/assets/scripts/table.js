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

customElements.define("loupe-table", SortedTable);
