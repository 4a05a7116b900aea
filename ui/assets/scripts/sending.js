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
customElements.define("loupe-choices", Choices);
customElements.define("loupe-send", Send);
