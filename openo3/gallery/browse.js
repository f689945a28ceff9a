"use strict";
/* What pages over thousands of records share: data files, and a list of which only the visible rows are in the
   document.

     openo3Browse.load("index").then((value) => …);
     const list = openo3Browse.listOf({element, rowHeight, rows: () => shown, rowOf, chosen: () => number, choose});
     list.draw();

   Data files are scripts that call `openo3Browse.receive(name, value)`: that also works from disk. A page that is
   one file has them in itself, as `<script type="application/json" data-name="index">`. */
globalThis.openo3Browse = (() => {
  const SPARE = 6; // rows kept beside the visible ones
  const PAGES_KEPT = 12;

  const find = (selector) => document.querySelector(selector);
  const make = (tag, style, ...content) => {
    const made = document.createElement(tag);
    if (style) made.className = style;
    made.append(...content.filter((one) => one !== null && one !== undefined));
    return made;
  };

  // ---- data files -------------------------------------------------------------------------------------------

  const waiting = new Map();
  const receive = (name, value) => waiting.get(name)?.resolve(value);

  const inside = (name) => {
    const held = [...document.querySelectorAll("script[data-name]")].find((one) => one.dataset.name === name);
    return held && Promise.resolve(JSON.parse(held.textContent));
  };

  const fetched = (name, entry) => new Promise((resolve, reject) => {
    const script = document.createElement("script");
    const done = (settle) => (value) => { script.remove(); settle(value); };
    entry.resolve = done(resolve);
    script.src = `data/${name.split("/").map(encodeURIComponent).join("/")}.js`;
    script.onerror = done(() => { waiting.delete(name); reject(new Error(`data/${name}.js cannot be loaded`)); });
    document.head.append(script);
  });

  const load = (name) => {
    if (!waiting.has(name)) {
      const entry = {};
      waiting.set(name, entry);
      entry.promise = inside(name) ?? fetched(name, entry);
    }
    return waiting.get(name).promise;
  };

  /** The records of `group` in one file; those of the last few files only are kept. */
  const loadPage = (group, number) => {
    const name = `${group}/page-${String(number).padStart(4, "0")}`;
    const promise = load(name), entry = waiting.get(name);
    waiting.delete(name);
    waiting.set(name, entry); // the last one used is the last one in order
    const pages = [...waiting.keys()].filter((key) => key.includes("/page-"));
    for (const old of pages.slice(0, -PAGES_KEPT)) waiting.delete(old);
    return promise;
  };

  /** All rows of a group's list, which is in `count` files. */
  const loadRows = async (group, count) => {
    const names = Array.from({ length: count }, (_, k) => `${group}/list-${String(k).padStart(3, "0")}`);
    return (await Promise.all(names.map(load))).flat();
  };

  // ---- the list ---------------------------------------------------------------------------------------------

  /** `element` scrolls and holds a `.space`. `rows()` are those that the filters leave, each with a `number`;
      `chosen()` is the number of the one that is open, `choose(row, step)` opens another. `rowOf(row)` makes the
      inside of a row. `empty` is said where there is none. */
  const listOf = ({ element, rowHeight, rows, rowOf, chosen, choose, empty }) => {
    const space = element.querySelector(".space");
    const place = { top: 0, height: 0 };
    let ready = false;

    const draw = () => {
      ready = true;
      const shown = rows();
      space.style.height = `${shown.length * rowHeight}px`;
      // asking for these after each change would lay the page out twice
      const from = Math.max(0, Math.floor(place.top / rowHeight) - SPARE);
      const until = Math.min(shown.length, Math.ceil((place.top + place.height) / rowHeight) + SPARE);
      space.replaceChildren();
      for (let k = from; k < until; k += 1) space.append(option(shown[k], k, shown.length));
      const active = shown.findIndex((row) => row.number === chosen());
      if (active >= from && active < until) element.setAttribute("aria-activedescendant", `row-${chosen()}`);
      else element.removeAttribute("aria-activedescendant");
      if (!shown.length) space.append(make("p", "empty", empty));
    };

    const option = (row, k, count) => {
      const made = rowOf(row);
      made.classList.add("row");
      made.id = `row-${row.number}`;
      made.setAttribute("role", "option");
      made.setAttribute("aria-selected", String(row.number === chosen()));
      made.setAttribute("aria-setsize", count);
      made.setAttribute("aria-posinset", k + 1);
      made.style.top = `${k * rowHeight}px`;
      made.addEventListener("click", () => choose(row, true));
      return made;
    };

    const measure = () => {
      Object.assign(place, { top: element.scrollTop, height: element.clientHeight });
      if (ready) draw();
    };

    /** Go to another place of the list; a record that is not in it counts as before its beginning. */
    const move = (where) => {
      const shown = rows();
      if (!shown.length) return;
      const next = Math.min(shown.length - 1, Math.max(0, where(placeOf())));
      choose(shown[next], false);
      reveal(next);
    };

    const placeOf = () => rows().findIndex((row) => row.number === chosen());

    const reveal = (k = Math.max(0, placeOf())) => {
      const top = k * rowHeight;
      if (top < element.scrollTop) element.scrollTop = top;
      else if (top + rowHeight > element.scrollTop + element.clientHeight) element.scrollTop = top + rowHeight - element.clientHeight;
    };

    const restart = () => { if (place.top) element.scrollTop = place.top = 0; };

    element.addEventListener("scroll", measure, { passive: true });
    element.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      const page = Math.max(1, Math.floor(element.clientHeight / rowHeight) - 1);
      const moves = {
        ArrowDown: (now) => now + 1, ArrowUp: (now) => now - 1, PageDown: (now) => now + page, PageUp: (now) => now - page,
        Home: () => 0, End: () => rows().length - 1,
      };
      if (!(event.key in moves)) return;
      event.preventDefault();
      move(moves[event.key]);
    });
    new ResizeObserver(measure).observe(element);
    measure();
    return { draw, move, reveal, restart };
  };

  /** Let go of the clips below an element: browsers hold few decoders at once. */
  const stop = (element) => {
    for (const video of element.querySelectorAll("video")) {
      video.pause();
      video.removeAttribute("src");
      video.load();
    }
  };

  /** What every page has: words to search for, help, a link past the list, keys, and the browser's buttons. */
  const listen = ({ main, help, search, press, follow }) => {
    find("input[name=text]").addEventListener("input", (event) => search(event.target.value));
    find(".help-button").addEventListener("click", () => help.showModal());
    find("[data-skip]").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
    document.addEventListener("keydown", press);
    for (const name of ["popstate", "hashchange"]) addEventListener(name, follow);
  };

  return { find, make, receive, load, loadPage, loadRows, listOf, listen, stop };
})();
