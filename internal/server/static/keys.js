// The keyboard. Nothing here can only be done by key, and no key does what
// cannot be taken back: r goes to the buttons, it does not press them.
"use strict";
(() => {
  const dialog = document.getElementById("keys");
  const help = document.querySelector("[data-keys]");
  const show = () => { if (!dialog.open) dialog.showModal(); };
  help.hidden = false;
  help.addEventListener("click", show);

  const rows = () => [...document.querySelectorAll("[data-row]")].filter((r) => r.offsetParent);
  const link = (row) => (row.matches("a") ? row : row.querySelector("a"));
  let at = null;
  const go = (step) => {
    const all = rows();
    if (!all.length) return;
    let i = all.indexOf(at);
    i = i < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, i + step));
    if (at) at.classList.remove("at");
    at = all[i];
    at.classList.add("at");
    const a = link(at);
    (a || at).focus({ preventScroll: true });
    at.scrollIntoView({ block: "nearest" });
  };

  let error = -1;
  const toError = (step) => {
    const all = [...document.querySelectorAll("[data-error]")];
    if (!all.length) return;
    error = (error + step + all.length) % all.length;
    all[error].scrollIntoView({ block: "start" });
    all[error].focus({ preventScroll: true });
  };

  addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey || e.defaultPrevented || dialog.open) return;
    const t = e.target;
    if (t.matches("input, select, textarea, [contenteditable]")) {
      if (e.key === "Escape") { e.preventDefault(); t.blur(); } // what was searched for stays
      return;
    }
    // A log has its own meaning for some of them; see log.js.
    const own = new CustomEvent("key", { detail: e.key, cancelable: true });
    if (!document.dispatchEvent(own)) { e.preventDefault(); return; }
    switch (e.key) {
      case "/": {
        const find = [...document.querySelectorAll("[data-find]")].pop();
        if (find) { find.focus(); find.select(); }
        break;
      }
      case "j": go(1); break;
      case "k": go(-1); break;
      case "Enter": if (at && !t.matches("a, button, summary")) link(at)?.click(); else return; break;
      case "e": toError(error < 0 ? 1 : 1); break;
      case "E": toError(-1); break;
      case "g": scrollTo({ top: 0 }); break;
      case "G": scrollTo({ top: document.documentElement.scrollHeight }); break;
      case "r": document.querySelector("[data-acts] button:not([disabled])")?.focus(); break;
      case "u": document.querySelector("[data-up]")?.click(); break;
      case "?": show(); break;
      default: return;
    }
    e.preventDefault();
  });
})();
