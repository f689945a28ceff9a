"use strict";
/* The page of training records: a list that can be filtered, and one record on its clip.

   What is shown is in the address after `#`, so that every view is a link:

     #r=12&file=STGR-SFT.json&source=local&task=temporal%20QA&why=box%20outside%20the%20frame,kept&find=cup

   With editing, `edit.js` defines `openo3Editing(review)`, which loads records from the server and adds decisions.
   All texts come from annotations and models; they become text nodes and nothing else. */
(() => {
  const { find, make, load, loadPage, loadRows, listOf, listen, stop } = openo3Browse;
  const ROW = 76; // pixels of a row in the list, as in browse.css
  const SAVE_MS = 200; // after the last letter that was typed, the address is written
  const KEPT = "", KEPT_KEY = "kept";
  const GROUP = "records";
  const [QUESTION, ANSWER, FILE, PLACE, ID, SOURCE, TASK, REASON, PAGE] = [0, 1, 2, 3, 4, 5, 6, 7, 8];

  let index = null, rows = [], shown = [], state = {}, current = null, player = null, pictures = null;
  let turn = 0, saving = 0, hooks = {};

  const main = find("main");
  const word = (number) => index.words[number];
  const keyOf = (reason) => reason || KEPT_KEY;

  // ---- state ------------------------------------------------------------------------------------------------

  /** The state that an address gives; what it does not say, or says wrongly, is as by default. */
  const readAddress = () => {
    const given = new URLSearchParams(location.hash.slice(1));
    const number = Number.parseInt(given.get("r") ?? "", 10);
    const known = new Set(index.words);
    const one = (name) => (known.has(given.get(name)) ? given.get(name) : "");
    return {
      record: number >= 0 && number < rows.length ? number : null,
      file: one("file"), source: one("source"), task: one("task"),
      why: (given.get("why") ?? "").split("|").filter((key) => key && (key === KEPT_KEY || known.has(key))),
      decision: given.get("decision") ?? "",
      text: given.get("find") ?? "",
    };
  };

  const addressOf = (one) => {
    const parts = { r: one.record, file: one.file, source: one.source, task: one.task, why: one.why.join("|"), decision: one.decision, find: one.text };
    const said = Object.entries(parts).filter(([, value]) => value !== null && value !== "");
    return `#${said.map(([key, value]) => `${key}=${encodeURIComponent(value)}`).join("&")}`;
  };

  /** Change the state and show it; a `step` is one that the browser's Back undoes. */
  const change = (changed, step = false) => {
    state = { ...state, ...changed };
    if (step) history.pushState(null, "", addressOf(state));
    else {
      clearTimeout(saving); // browsers slow pages down that do this for every letter
      saving = setTimeout(() => history.replaceState(null, "", addressOf(state)), SAVE_MS);
    }
    return show("record" in changed && Object.keys(changed).length === 1);
  };

  const show = async (sameFilters = false) => {
    const own = (turn += 1);
    try {
      if (!sameFilters) filter();
      list.draw();
      await showRecord(own);
    } catch (error) {
      if (own === turn) notice(error.message);
    }
  };

  // ---- filters ----------------------------------------------------------------------------------------------

  const filter = () => {
    const words = state.text.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = new Set(state.why);
    const counts = new Map(), files = new Map(), decided = new Map();
    const add = (map, key) => map.set(key, (map.get(key) ?? 0) + 1);
    shown = [];
    for (const row of rows) {
      add(files, row.file);
      if ((state.file && row.file !== state.file) || (state.source && row.source !== state.source)) continue;
      if ((state.task && row.task !== state.task) || !words.every((one) => row.search.includes(one))) continue;
      const decision = hooks.decisionOf?.(row) ?? "";
      const fits = !wanted.size || wanted.has(keyOf(row.reason));
      if (fits) add(decided, decision);
      if (state.decision && decision !== state.decision) continue;
      add(counts, keyOf(row.reason));
      if (fits) shown.push(row);
    }
    writeFilters(counts, files, decided);
  };

  const writeFilters = (counts, files, decided) => {
    for (const name of ["source", "task"]) find(`select[name=${name}]`).value = state[name];
    const text = find("input[name=text]");
    if (text.value !== state.text) text.value = state.text;
    const press = (button, pressed, count) => {
      button.setAttribute("aria-pressed", String(pressed));
      button.lastElementChild.textContent = (count ?? 0).toLocaleString("en");
      button.classList.toggle("few", !count);
    };
    for (const button of document.querySelectorAll(".reasons button")) press(button, state.why.includes(button.dataset.key), counts.get(button.dataset.key));
    for (const button of document.querySelectorAll(".splits button")) press(button, state.file === button.dataset.key, files.get(button.dataset.key));
    for (const button of document.querySelectorAll(".decisions button")) press(button, state.decision === button.dataset.key, decided.get(button.dataset.key));
    const rejected = shown.filter((row) => row.reason).length;
    find(".count").replaceChildren(
      make("span", "", `${shown.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")} records`),
      make("span", "", rejected ? `${rejected.toLocaleString("en")} rejected` : ""),
    );
  };

  // ---- the list ---------------------------------------------------------------------------------------------

  const rowOf = (row) => {
    const option = make("div", "", make("p", "question", row.question || "(no question)"));
    const facts = [`${row.place} · ${row.task}`];
    option.append(make("p", "facts", row.reason ? make("b", "bad", row.reason) : null, row.reason ? " · " : "", facts.join("")));
    option.append(make("span", "pills", hooks.markOf?.(row) ?? null));
    return option;
  };

  const list = listOf({
    element: find(".records"), rowHeight: ROW, rows: () => shown, rowOf, chosen: () => state.record,
    choose: (row, step) => change({ record: row.number }, step), empty: "No record fits these filters.",
  });

  // ---- one record -------------------------------------------------------------------------------------------

  const leave = () => {
    stop(main);
    pictures?.close();
    hooks.left?.();
    player = pictures = current = null;
  };

  const notice = (text) => {
    leave();
    main.replaceChildren(make("p", "notice", text));
  };

  const fromPage = async (row) => {
    const page = await loadPage(GROUP, row.page);
    const record = page.find((one) => one.number === row.number);
    const { url } = record.media;
    const held = url && [...document.querySelectorAll("script[data-name]")].some((one) => one.dataset.name === url);
    return { record: held ? { ...record, media: { ...record.media, url: await load(url) } } : record };
  };

  const showRecord = async (own) => {
    if (state.record === null) {
      if (!shown.length) return notice("No record fits these filters.");
      state.record = shown[0].number;
      history.replaceState(null, "", addressOf(state));
      list.draw();
    }
    if (current === state.record) return;
    const row = rows[state.record];
    const found = await (hooks.loadRecord ?? fromPage)(row);
    if (own === turn) render(found);
  };

  /** Show a record anew; `found` has it as `record`, and with editing what `edit.js` needs. */
  const render = (found) => {
    const { record } = found;
    leave();
    current = record.number;
    document.title = `${record.question || "Record"} · ${record.file} ${record.row}`;
    const place = make("div", "player"), below = make("div", "below"), problem = make("div", "problems");
    main.replaceChildren(headOf(record), problem, place, below);
    pictures = openo3Pictures(record.media, record.media.url);
    player = openo3Player(place, dataOf(record));
    fill(record, problem, below);
    player.seek(beginning(record));
    main.scrollTop = 0;
    hooks.shown?.(found, { main, place, player, below, update: (next) => {
      find("main h2").textContent = next.question || "(no question)";
      player.update(dataOf(next));
      fill(next, problem, below);
    } });
  };

  const fill = (record, problem, below) => {
    problem.replaceChildren(...(record.problem ? [pictures.problem(record.problem, (row) => openRow(record.file, row))] : []));
    const parts = record.media.kind === "image" || !record.moments.length ? [] : [pictures.moments(record, (time) => player.seek(time))];
    const lines = record.lines.map(([line]) => line).join("\n");
    const texts = [record.texts.reasoning && `<think>${record.texts.reasoning}</think>`, `<answer>${record.texts.answer}</answer>`];
    below.replaceChildren(...parts, details("As the model is to write it", texts.filter(Boolean).join("\n")), details("As in the file", lines));
  };

  const dataOf = (record) => ({ ...record.evidence, media: record.media, truth: record.key });

  const headOf = (record) => {
    const labels = [`${record.file} ${record.row}`, record.id, record.source, record.task];
    if (record.media.duration_s) labels.push(`${record.media.duration_s.toFixed(1)} s`);
    if (record.media.size) labels.push(record.media.size.join(" × "));
    const head = make("header", "record", make("p", "labels", labels.filter(Boolean).join(" · ")), make("h2", "", record.question || "(no question)"));
    if (record.missing && record.problem?.picture.kind !== "file") head.append(make("p", "notice", `The clip cannot be shown: ${record.missing}.`));
    return head;
  };

  /** The first moment with something to see. */
  const beginning = (record) => {
    const end = record.media.duration_s ?? Infinity;
    const times = [...record.moments.map((moment) => moment.time_s), ...record.evidence.spans.flat()];
    return Math.max(0, Math.min(times.find((time) => time <= end) ?? 0, end));
  };

  const details = (title, text) => make("details", "raw", make("summary", "", title), make("pre", "", text));

  const openRow = (file, place) => {
    const row = rows.find((one) => one.file === file && one.row === place);
    if (row) change({ record: row.number }, true);
  };

  // ---- events -----------------------------------------------------------------------------------------------

  const toggle = (parent, key, title, style, chosen) => {
    const button = make("button", style, title, make("b"));
    button.type = "button";
    button.dataset.key = key;
    button.addEventListener("click", () => filtered(chosen(key)));
    find(parent).append(button);
  };

  /** A filter changed: the list begins anew, the record stays. */
  const filtered = (changed) => {
    list.restart();
    change(changed);
  };

  const begin = () => {
    find(".top h1 small").textContent = index.title;
    const values = (name) => [...new Set(rows.map((row) => row[name]))].sort();
    const files = [...new Set(rows.map((row) => row.file))];
    for (const file of files) toggle(".splits", file, file, "", (key) => ({ file: state.file === key ? "" : key }));
    const reasons = new Map();
    for (const row of rows) reasons.set(row.reason, (reasons.get(row.reason) ?? 0) + 1);
    const ordered = [...reasons.keys()].sort((a, b) => (a === KEPT ? -1 : b === KEPT ? 1 : reasons.get(b) - reasons.get(a)));
    for (const reason of ordered) {
      const other = (key) => ({ why: state.why.includes(key) ? state.why.filter((one) => one !== key) : [...state.why, key] });
      toggle(".reasons", keyOf(reason), reason || "Kept", reason ? "bad" : "good", other);
    }
    for (const [name, title] of [["source", "all sources"], ["task", "all tasks"]]) {
      const select = find(`select[name=${name}]`);
      select.append(new Option(title, ""), ...values(name).map((value) => new Option(value, value)));
      select.addEventListener("change", () => filtered({ [name]: select.value }));
    }
    for (const key of hooks.decisions ?? []) toggle(".decisions", key, key.charAt(0).toUpperCase() + key.slice(1), key === "rejected" ? "bad" : "good", (one) => ({ decision: state.decision === one ? "" : one }));
    listen({ main, help: find("dialog.keys"), search: (text) => filtered({ text }), press, follow });
  };

  const follow = () => {
    const next = readAddress();
    if (addressOf(next) === addressOf(state)) return;
    state = next;
    show().then(() => list.reveal());
  };

  const press = (event) => {
    if (event.defaultPrevented || document.querySelector("dialog[open]")) return;
    if (event.target.closest("input, select, textarea")) {
      if (event.key === "Escape") find(".records").focus();
      return;
    }
    if (hooks.press?.(event)) return event.preventDefault();
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "j") list.move((now) => now + 1);
    else if (event.key === "k") list.move((now) => now - 1);
    else if (event.key === "/") find("input[name=text]").focus();
    else if (event.key === "?") find("dialog.keys").showModal();
    else if (event.key === "p") main.querySelector(".o3-play")?.click();
    else return;
    event.preventDefault();
  };

  const read = (given, number) => {
    const row = {
      number, question: given[QUESTION], answer: given[ANSWER], file: word(given[FILE]), row: given[PLACE], id: given[ID],
      source: word(given[SOURCE]), task: word(given[TASK]), reason: word(given[REASON]), page: given[PAGE],
    };
    row.place = `${row.file.replace(/\.jsonl?$/, "")} ${row.row}`;
    row.search = [`#${number}`, row.question, row.answer, row.id, row.place, row.reason].join("\n").toLowerCase();
    return row;
  };

  const start = async () => {
    hooks = globalThis.openo3Editing?.({
      rows: () => rows, shown: () => shown, chosen: () => state.record, open: (number) => change({ record: number }), render,
      redraw: () => { filter(); list.draw(); }, draw: () => list.draw(), move: (where) => list.move(where), reveal: () => list.reveal(),
    }) ?? {};
    index = await (hooks.load ?? load)("index");
    const given = hooks.load
      ? (await Promise.all(Array.from({ length: index.lists }, (_, k) => hooks.load(`${GROUP}/list-${k}`)))).flat()
      : await loadRows(GROUP, index.lists);
    rows = given.map(read);
    await hooks.begin?.();
    begin();
    state = readAddress();
    await show();
    list.reveal();
  };

  document.addEventListener("DOMContentLoaded", () => start().catch((error) => notice(error.message)));
})();
