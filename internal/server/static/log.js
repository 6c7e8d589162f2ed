// The log of a job. A log of up to 20,000 lines is there as a whole, and this
// adds search, following and the like; a longer one is seen through a window that
// fetches the lines it shows.
"use strict";
(() => {
  const box = document.querySelector("[data-log]");
  if (!box) return;
  const lineHeight = 20, part = 400, plainMost = Number(box.dataset.plain);
  // Browsers give up on boxes higher than about 16 million pixels.
  const highest = 8e6;
  let total = Number(box.dataset.lines), closed = box.dataset.closed === "true";
  let view = box.hasAttribute("data-windowed") ? null : "plain";
  const $ = (sel) => box.querySelector(sel);
  const here = (params) => {
    const url = new URL(location.pathname, location.href);
    for (const [k, v] of Object.entries(params)) url.searchParams.set(k, v);
    return url;
  };
  const number = (n) => n.toLocaleString("en");
  const fetchLines = async (from, n) => {
    const res = await fetch(here({ fragment: "lines", from, n }), { credentials: "same-origin" });
    if (!res.ok) throw new Error(res.status);
    const t = document.createElement("template");
    t.innerHTML = await res.text();
    return t.content;
  };
  const lineOf = (el) => Number(el.id.slice(el.id.lastIndexOf("L") + 1));

  // ---- The window.
  let win = null;
  const openWindow = (el) => {
    const pad = el.querySelector(".pad"), shown = el.querySelector(".view");
    const parts = box.querySelector("[data-parts]");
    if (parts) parts.hidden = true;
    let from = Number(shown.dataset.from) || 1, to = from + shown.childElementCount;
    const height = () => Math.min(total * lineHeight, highest);
    // With very long logs a pixel of the scroll bar is more than a pixel of text.
    const scale = () => (total * lineHeight - el.clientHeight) / Math.max(1, height() - el.clientHeight);
    const topLine = () => Math.max(0, el.scrollTop * Math.max(1, scale()) / lineHeight);
    const place = () => {
      const first = topLine();
      shown.style.transform = `translateY(${el.scrollTop + (from - 1 - first) * lineHeight}px)`;
    };
    const size = () => { pad.style.height = `${height()}px`; };
    let asking = 0;
    const fill = async () => {
      const first = Math.floor(topLine()) + 1, rows = Math.ceil(el.clientHeight / lineHeight) + 1;
      const last = Math.min(total, first + rows);
      if (first >= from && last < to || last <= to - 1 && first >= from) { place(); return; }
      const want = Math.max(1, first - Math.floor((part - rows) / 2));
      const mine = ++asking;
      try {
        const lines = await fetchLines(want, part);
        if (mine !== asking) return;
        shown.replaceChildren(lines);
        from = want; to = want + shown.childElementCount;
        place();
        marks();
      } catch { /* it is asked for again at the next move */ }
    };
    let drawn = false;
    el.addEventListener("scroll", () => {
      if (drawn) return;
      drawn = true;
      requestAnimationFrame(() => { drawn = false; place(); fill(); });
    }, { passive: true });
    new ResizeObserver(() => { size(); fill(); }).observe(el);
    size();
    win = {
      el, shown, fill,
      to: async (n, where = 0.3) => {
        const rows = el.clientHeight / lineHeight;
        const first = Math.min(Math.max(0, n - 1 - rows * where), Math.max(0, total - rows));
        el.scrollTop = first * lineHeight / Math.max(1, scale());
        await fill();
      },
      end: async () => { el.scrollTop = el.scrollHeight; await fill(); },
      top: () => Math.floor(topLine()) + 1,
      grow: async (follow) => { size(); if (follow) { asking++; to = Math.min(to, from); el.scrollTop = el.scrollHeight; await fill(); } else if (to >= from && to <= topLine() + el.clientHeight / lineHeight + 1) { to = from; await fill(); } },
    };
    el.addEventListener("wheel", (e) => { if (e.deltaY < 0) follow(false); }, { passive: true });
    return win;
  };

  // ---- Selection: #L120-L140, ?at=120.
  let selected = null;
  const readHash = () => {
    const m = /^#L(\d+)(?:-L?(\d+))?$/.exec(location.hash);
    if (m) return [Number(m[1]), Math.max(Number(m[1]), Number(m[2] || m[1]))];
    const q = new URLSearchParams(location.search);
    const at = Number(q.get("at"));
    return at ? [at, Math.max(at, Number(q.get("to")) || at)] : null;
  };
  const lines = () => box.querySelectorAll(".l");
  let matchLines = new Set();
  const marks = () => {
    for (const el of box.querySelectorAll(".l.sel, .l.hit")) el.classList.remove("sel", "hit");
    if (selected) {
      const [a, b] = selected;
      if (view === "plain") {
        for (let n = a; n <= Math.min(b, a + 5000); n++) document.getElementById("L" + n)?.classList.add("sel");
      } else for (const el of lines()) { const n = lineOf(el); if (n >= a && n <= b) el.classList.add("sel"); }
    }
    if (matchLines.size) for (const n of view === "plain" ? matchLines : [...lines()].map(lineOf).filter((n) => matchLines.has(n))) document.getElementById("L" + n)?.classList.add("hit");
    highlight();
  };
  const reveal = async (n, where) => {
    if (win) { await win.to(n, where); marks(); return document.getElementById("L" + n); }
    const el = document.getElementById("L" + n);
    if (!el) return null;
    for (let d = el.closest("details"); d; d = d.parentElement.closest("details")) d.open = true;
    el.scrollIntoView({ block: "center" });
    return el;
  };
  const select = async () => {
    selected = readHash();
    marks();
    if (selected) { follow(false); await reveal(selected[0]); marks(); }
  };
  addEventListener("hashchange", select);
  box.addEventListener("click", (e) => {
    const a = e.target.closest(".l > a");
    if (!a) return;
    const n = lineOf(a.parentElement);
    if (e.shiftKey && selected) {
      e.preventDefault();
      const [x, y] = [Math.min(selected[0], n), Math.max(selected[0], n)];
      history.replaceState(null, "", `#L${x}-L${y}`);
      selected = [x, y];
      marks();
    } else {
      e.preventDefault();
      history.replaceState(null, "", `#L${n}`);
      selected = [n, n];
      marks();
    }
  });

  // ---- Search: the server looks, and its counts are true.
  const form = $("[data-search]"), input = form.querySelector("input"), count = $("[data-count]");
  const caseButton = $("[data-case]"), regexButton = $("[data-regex]"), prev = $("[data-prev]"), next = $("[data-next]");
  for (const b of [caseButton, regexButton, prev, next]) b.hidden = false;
  let found = null, hit = -1, base = 0, asked = "";
  const pressed = (b) => b.getAttribute("aria-pressed") === "true";
  const tell = () => {
    if (!found) { count.textContent = ""; return; }
    if (!found.lines) { count.textContent = "no match"; return; }
    count.textContent = hit < 0 ? `${number(found.matches)} in ${number(found.lines)} lines` : `${number(base + hit + 1)} of ${number(found.lines)}`;
    count.title = `${number(found.matches)} matches in ${number(found.lines)} lines`;
  };
  const highlight = () => {
    if (!window.Highlight || !CSS.highlights) return;
    const text = input.value;
    CSS.highlights.delete("found");
    // A pattern marks its lines: to run it here, too, somebody else's link could stop the page.
    if (!found || !text || !matchLines.size || pressed(regexButton)) return;
    const sensitive = pressed(caseButton);
    const needle = sensitive ? text : text.toLowerCase();
    const ranges = [];
    for (const el of box.querySelectorAll(".l.hit > span")) {
      const nodes = [], walk = document.createTreeWalker(el, NodeFilter.SHOW_TEXT);
      let whole = "";
      for (let n; (n = walk.nextNode());) { nodes.push([whole.length, n]); whole += n.data; }
      const hay = sensitive ? whole : whole.toLowerCase();
      const spot = (i) => { let k = nodes.length - 1; while (k > 0 && nodes[k][0] > i) k--; return [nodes[k][1], i - nodes[k][0]]; };
      for (let i = hay.indexOf(needle); i >= 0 && ranges.length < 2000 && nodes.length; i = hay.indexOf(needle, i + needle.length)) {
        const r = document.createRange();
        const [a, x] = spot(i), [b, y] = spot(i + needle.length);
        try { r.setStart(a, Math.min(x, a.length)); r.setEnd(b, Math.min(y, b.length)); ranges.push(r); } catch { break; }
      }
    }
    CSS.highlights.set("found", new Highlight(...ranges));
  };
  const ask = async (after) => {
    const res = await fetch(here({ format: "json", q: input.value, case: pressed(caseButton) ? 1 : 0, regex: pressed(regexButton) ? 1 : 0, after }), { credentials: "same-origin" });
    if (res.status === 422) { count.textContent = (await res.json()).error.message; return null; }
    if (!res.ok) throw new Error(res.status);
    return (await res.json()).found;
  };
  const search = async (jump) => {
    asked = input.value;
    if (!asked) { found = null; hit = -1; matchLines = new Set(); marks(); tell(); return; }
    const mine = asked;
    const f = await ask(0);
    if (mine !== input.value) return;
    if (!f) { found = null; hit = -1; matchLines = new Set(); marks(); return; }
    found = f; base = 0;
    matchLines = new Set(f.hits);
    const at = win ? win.top() : selected ? selected[0] : 0;
    hit = -1;
    if (jump && f.hits.length) {
      const i = f.hits.findIndex((n) => n >= at);
      hit = i < 0 ? 0 : i;
      follow(false);
      selected = [f.hits[hit], f.hits[hit]];
      await reveal(f.hits[hit]);
    }
    marks();
    tell();
  };
  const step = async (by) => {
    if (asked !== input.value || !found) return search(true);
    if (!found.lines) return;
    hit += by;
    if (hit >= found.hits.length && found.more) { // the next few thousand
      const f = await ask(found.hits.at(-1));
      base += found.hits.length;
      found = { ...f, lines: found.lines, matches: found.matches };
      matchLines = new Set(f.hits);
      hit = 0;
    }
    if (hit < 0 && base > 0) { await search(false); hit = found.hits.length - 1; }
    if (hit >= found.hits.length) { if (base) { await search(false); } hit = 0; }
    if (hit < 0) hit = found.hits.length - 1;
    follow(false);
    selected = [found.hits[hit], found.hits[hit]];
    await reveal(found.hits[hit]);
    marks();
    tell();
  };
  form.addEventListener("submit", (e) => { e.preventDefault(); if (asked === input.value && found) step(1); else search(true); });
  let typing = 0;
  input.addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(() => search(true), 200); });
  for (const b of [caseButton, regexButton]) b.addEventListener("click", () => { b.setAttribute("aria-pressed", !pressed(b)); search(true); });
  next.addEventListener("click", () => step(1));
  prev.addEventListener("click", () => step(-1));

  // ---- Following is what the reader says it is, not where the page happens to be.
  const followButton = $("[data-follow]");
  let following = false, pill = null, seen = total;
  const follow = (on) => {
    if (following === on) return;
    following = on;
    followButton.setAttribute("aria-pressed", on);
    if (on) { seen = total; news(); toEnd(); }
  };
  const toEnd = () => { if (win) return win.end(); scrollTo({ top: document.documentElement.scrollHeight }); };
  const news = () => {
    const n = total - seen;
    if (n <= 0 || following) { pill?.remove(); pill = null; return; }
    if (!pill) {
      pill = document.createElement("button");
      pill.className = "pill"; pill.type = "button";
      pill.addEventListener("click", () => follow(true));
      document.body.append(pill);
    }
    pill.textContent = `${number(n)} new ${n === 1 ? "line" : "lines"}`;
  };
  followButton.addEventListener("click", () => follow(!following));
  addEventListener("wheel", (e) => { if (e.deltaY < 0) follow(false); }, { passive: true });
  followButton.hidden = closed;

  let appending = Promise.resolve();
  const append = () => {
    appending = appending.then(async () => {
      const log = $("[data-plainlog]");
      let last = lines().length ? lineOf([...lines()].at(-1)) : 0;
      for (const d of log.querySelectorAll("details.fold")) last = Math.max(last, lineOf(d));
      while (last < total && view === "plain") {
        const got = await fetchLines(last + 1, 2000);
        const rows = [...got.children];
        if (!rows.length) break;
        last = lineOf(rows.at(-1));
        for (let i = 0; i < rows.length;) {
          let chunk = log.querySelector(":scope > .lines:last-child");
          if (!chunk || chunk.childElementCount >= 500) { chunk = document.createElement("div"); chunk.className = "lines"; log.append(chunk); }
          const room = 500 - chunk.childElementCount;
          chunk.append(...rows.slice(i, i + room));
          i += room;
        }
      }
      if (following) toEnd();
    }).catch(() => {});
  };
  document.addEventListener("growth", async (e) => {
    const g = e.detail;
    if (g.topic !== `log/${box.dataset.run}/${box.dataset.job}`) return;
    const more = g.lines !== total;
    total = Math.max(total, g.lines);
    closed = !!g.closed;
    if (closed) { followButton.hidden = true; }
    if (!more) { if (closed) follow(false); return; }
    if ($("[data-none]")) { location.reload(); return; }
    if (view === "plain" && total > plainMost) {
      const keep = following, el = document.createElement("div"), at = $("[data-plainlog]");
      el.className = "window log" + (at.classList.contains("stamps") ? " stamps" : ""); el.tabIndex = 0;
      el.setAttribute("role", "log"); el.setAttribute("aria-live", "off"); el.setAttribute("aria-label", at.getAttribute("aria-label")); el.dataset.window = "";
      el.innerHTML = '<div class="pad"><div class="view" data-from="1"></div></div>';
      at.replaceWith(el);
      view = null;
      openWindow(el);
      await win.fill();
      if (keep) await win.end();
    } else if (win) await win.grow(following);
    else append();
    news();
    if (closed) follow(false);
  });

  // ---- The rest of the tools.
  const goto = $("[data-goto]");
  if (goto.options.length > 2) goto.hidden = false;
  goto.addEventListener("change", () => { if (goto.value) { location.hash = "L" + goto.value; goto.selectedIndex = 0; } });
  const stamps = $("[data-stamps]");
  const times = (e) => {
    e?.preventDefault();
    const on = $(".log").classList.toggle("stamps");
    stamps.textContent = on ? "No times" : "Times";
  };
  stamps.addEventListener("click", times);
  const copy = $("[data-copy]");
  copy.hidden = !navigator.clipboard;
  const currentStep = () => {
    let best = "";
    const at = selected ? selected[0] : win ? win.top() : 1;
    for (const o of goto.options) if (o.value && Number(o.value) <= at) best = o.value;
    return best || goto.options[1]?.value;
  };
  copy.addEventListener("click", async () => {
    const from = Number(currentStep() || 1);
    const later = [...goto.options].map((o) => Number(o.value)).filter((n) => n > from);
    const n = Math.min((later.length ? Math.min(...later) : total + 1) - from, 5000);
    const got = await fetchLines(from, Math.max(1, n));
    await navigator.clipboard.writeText([...got.children].map((el) => el.querySelector("span").textContent).join("\n") + "\n");
    copy.textContent = "Copied";
    setTimeout(() => { copy.textContent = "Copy step"; }, 1500);
  });

  // Errors: failing steps, and lines that say so.
  const errors = () => [...new Set([...goto.options].filter((o) => o.hasAttribute("data-bad")).map((o) => Number(o.value)).concat([...box.querySelectorAll(".l.bad")].map(lineOf)))].sort((a, b) => a - b);
  const toError = (by) => {
    const all = errors();
    if (!all.length) return;
    const at = selected ? selected[0] : 0;
    const n = by > 0 ? all.find((x) => x > at) ?? all[0] : all.findLast((x) => x < at) ?? all.at(-1);
    location.hash = "L" + n;
  };
  document.addEventListener("key", (e) => {
    switch (e.detail) {
      case "n": step(1); break;
      case "N": step(-1); break;
      case "e": toError(1); break;
      case "E": toError(-1); break;
      case "f": if (!closed) follow(!following); break;
      case "t": times(); break;
      case "g": follow(false); if (win) win.to(1); else scrollTo({ top: 0 }); break;
      case "G": toEnd(); break;
      case "ArrowUp": case "PageUp": follow(false); return;
      default: return;
    }
    e.preventDefault();
  });
  // Ctrl+F means this search while the log is in use; pressed again, the browser's own.
  addEventListener("keydown", (e) => {
    if ((e.ctrlKey || e.metaKey) && e.key === "f" && win && document.activeElement !== input) { e.preventDefault(); input.focus(); input.select(); }
  });

  if (!view) openWindow($("[data-window]"));
  select().then(() => { if (input.value) search(!selected); });
  box.dataset.ready = "";
})();
