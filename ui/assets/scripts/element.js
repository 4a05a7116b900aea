// What the elements of Loupe's page share. Colour tables arrive in window.loupeColours (from techniques/base/drawing).

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
