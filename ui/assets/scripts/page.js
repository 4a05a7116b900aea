const onceThere = (act) => (document.body ? act() : document.addEventListener("DOMContentLoaded", act));

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

// An answer is of another picture or model than those at the top once these have been changed; it stays, but steps back.
const compare = () => {
  const now = document.querySelector(".lp-seen[data-of]")?.dataset.of;
  for (const line of document.querySelectorAll(".lp-status [data-of]")) line.classList.toggle("lp-other", Boolean(now) && line.dataset.of !== now);
};
let comparing = 0;
onceThere(() => {
  const soon = () => (comparing ||= requestAnimationFrame(() => ((comparing = 0), compare())));
  new MutationObserver(soon).observe(document.body, { childList: true, subtree: true });
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
if (!new URLSearchParams(location.search).has("__theme")) onceThere(watchTheme);
