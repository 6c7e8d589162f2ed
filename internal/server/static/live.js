// Keeps a page up to date: one stream of notices for the page (server-sent
// events); what a notice concerns is fetched anew as a fragment of the same page.
// Without this script the link "Refresh" does the same.
"use strict";
(() => {
  const body = document.body;
  const status = document.getElementById("status");
  const live = () => [...document.querySelectorAll("[data-live]")];
  let said = "";

  const say = (text) => {
    if (!text || text === said) return;
    if (said) status.textContent = text;
    said = text;
  };

  // swap puts new HTML in the place of the old one, and keeps what the reader had
  // opened, chosen or scrolled to.
  const swap = (el, html) => {
    const t = document.createElement("template");
    t.innerHTML = html;
    if (el.dataset.was === html) return;
    el.dataset.was = html;
    const open = new Map([...el.querySelectorAll("details")].map((d, i) => [d.id || i, d.open]));
    const focus = el.contains(document.activeElement) ? document.activeElement : null;
    const key = focus && (focus.id || focus.getAttribute("href") || focus.textContent);
    const rail = el.closest(".rail") || el.querySelector(".rail");
    const top = rail ? rail.scrollTop : 0;
    el.replaceChildren(t.content);
    [...el.querySelectorAll("details")].forEach((d, i) => { if (open.has(d.id || i)) d.open = open.get(d.id || i); });
    const again = el.closest(".rail") || el.querySelector(".rail");
    if (again) again.scrollTop = top;
    if (key) {
      const same = [...el.querySelectorAll("a, button, summary, input")].find((x) => (x.id || x.getAttribute("href") || x.textContent) === key);
      if (same) same.focus({ preventScroll: true });
    }
    const speaks = el.querySelector("[data-say]");
    if (speaks) say(speaks.dataset.say);
    el.dispatchEvent(new CustomEvent("swapped", { bubbles: true }));
  };

  const busy = (el) => el.contains(document.activeElement) && /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName);

  let asked = 0, running = false;
  const refresh = async () => {
    if (running) { asked++; return; }
    running = true;
    do {
      asked = 0;
      for (const el of live()) {
        if (busy(el)) continue;
        const url = new URL(location.href);
        url.hash = "";
        url.searchParams.set("fragment", el.dataset.live);
        try {
          const res = await fetch(url, { headers: { "X-Fragment": "1" }, credentials: "same-origin" });
          if (res.ok && !res.redirected) swap(el, await res.text());
        } catch { /* the stream says when the server is back */ }
      }
      await new Promise((done) => setTimeout(done, 400));
    } while (asked);
    running = false;
  };

  // Words like "5m ago" go on by themselves.
  const spans = [[10, () => "just now"], [60, (s) => `${s}s ago`], [3600, (s) => `${Math.floor(s / 60)}m ago`], [172800, (s) => `${Math.floor(s / 3600)}h ago`], [Infinity, (s) => `${Math.floor(s / 86400)}d ago`]];
  setInterval(() => {
    for (const t of document.querySelectorAll("time[data-ago]")) {
      const s = Math.max(0, Math.floor((Date.now() - Date.parse(t.dateTime)) / 1000));
      const text = spans.find(([most]) => s < most)[1](s);
      if (t.textContent !== text) t.textContent = text;
    }
  }, 15000);

  for (const el of document.querySelectorAll("[data-say]")) { said = el.dataset.say; break; }

  // The secret of an invitation is in the link's fragment, which is never sent.
  const code = document.querySelector("input[data-fragment]");
  if (code && location.hash.length > 1) {
    code.value = decodeURIComponent(location.hash.slice(1));
    history.replaceState(null, "", location.pathname + location.search);
  }

  // A form that is tried while it is written: what comes of it is a fragment of the page.
  for (const form of document.querySelectorAll("form[data-try]")) {
    const out = document.getElementById(form.dataset.try);
    let timer = 0, asking = 0;
    form.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(async () => {
        const url = new URL(form.action), mine = ++asking;
        for (const [name, value] of new FormData(form)) if (value) url.searchParams.set(name, value);
        url.searchParams.set("fragment", form.dataset.try);
        try {
          const res = await fetch(url, { headers: { "X-Fragment": "1" }, credentials: "same-origin" });
          if (res.ok && mine === asking) swap(out, await res.text());
        } catch { /* the button does the same */ }
      }, 250);
    });
  }

  const topics = (body.dataset.topics || "").split(" ").filter(Boolean);
  if (!topics.length || !window.EventSource) return;
  const url = new URL("/api/v1/events", location.href);
  for (const t of topics) url.searchParams.append("topic", t);
  url.searchParams.set("after", body.dataset.seq || "0");
  const stream = new EventSource(url);
  stream.addEventListener("notice", (e) => {
    refresh();
    document.dispatchEvent(new CustomEvent("notice", { detail: JSON.parse(e.data) }));
  });
  stream.addEventListener("growth", (e) => document.dispatchEvent(new CustomEvent("growth", { detail: JSON.parse(e.data) })));
  let away = false;
  stream.addEventListener("error", () => { if (!away) { away = true; status.textContent = "The server is not there. Trying again…"; } });
  stream.addEventListener("open", () => { if (away) { away = false; status.textContent = "The server is there again."; refresh(); } });
  addEventListener("pagehide", () => stream.close());
})();
