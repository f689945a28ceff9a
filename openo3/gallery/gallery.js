"use strict";
/* The gallery's page: a list of records that can be filtered, and the answers of one or two checkpoints to one.

   What is shown is in the address after `#`, so that every view is a link:

     #b=vstar&r=12&left=gspo:greedy&right=base:plain&part=when&fail=late,unread&low=0&high=0.5&find=red&order=worst

   All texts come from models and annotations; they become text nodes and nothing else. */
(() => {
  const { find, make, load, loadPage, loadRows, listOf, listen } = openo3Browse;
  const ROW = 76; // pixels of a row in the list, as in browse.css
  const BINS = 20;
  const SAVE_MS = 200; // after the last letter that was typed, the address is written
  const FAILURE_NONE = "none", CORRECT = "Correct";
  const ORDERS = {
    number: "in order", worst: "worst first", best: "best first", lost: "left most behind", gained: "left most ahead",
  };

  const written = (score) => (typeof score === "number" ? score.toFixed(2) : "–");
  const shade = (element, score) => {
    element.style.setProperty("--score", typeof score === "number" ? score : 0);
    element.classList.toggle("no-score", typeof score !== "number");
    return element;
  };

  // ---- state ------------------------------------------------------------------------------------------------

  let index = null, benchmark = null, rows = [], shown = [], state = {}, players = [], current = null, turn = 0, saving = 0;

  const nameOf = (run) => `${run.model}:${run.condition}`;
  const runOf = (name) => benchmark.runs.findIndex((run) => nameOf(run) === name);
  const titled = (name) => ({ base: "Base", sft: "SFT", gspo: "GSPO" })[name] ?? name;
  const clamped = (text, otherwise) => (text !== null && text !== "" && Number.isFinite(Number(text)) ? Math.min(1, Math.max(0, Number(text))) : otherwise);

  /** The state that an address gives; what it does not say, or says wrongly, is as by default. */
  const readAddress = () => {
    const given = new URLSearchParams(location.hash.slice(1));
    const chosen = index.benchmarks.find((one) => one.name === given.get("b")) ?? index.benchmarks[0];
    const names = chosen.runs.map(nameOf);
    const first = (model, condition) => chosen.runs.findIndex((run) => run.model === model && (!condition || run.condition === condition));
    const models = [...new Set(chosen.runs.map((run) => run.model))];
    const usual = (model, ...conditions) => conditions.map((condition) => first(model, condition)).find((k) => k >= 0) ?? first(model);
    const left = names[usual(models.at(-1), "greedy", "plain")];
    const right = models.length > 1 ? names[usual(models[0], "plain", "greedy")] : "";
    const keys = new Set([FAILURE_NONE, ...index.failures.map((failure) => failure.key)]);
    const number = Number.parseInt(given.get("r") ?? "", 10);
    const low = clamped(given.get("low"), 0), high = clamped(given.get("high"), 1);
    return {
      benchmark: chosen.name,
      record: number >= 0 && number < chosen.records ? number : null,
      left: names.includes(given.get("left")) ? given.get("left") : left,
      right: given.get("right") === "" ? "" : names.includes(given.get("right")) ? given.get("right") : right,
      part: given.get("part") ?? "",
      failures: (given.get("fail") ?? "").split(",").filter((key) => keys.has(key)),
      low, high: Math.max(low, high),
      text: given.get("find") ?? "",
      order: given.get("order") in ORDERS ? given.get("order") : "number",
    };
  };

  const addressOf = (one) => {
    const parts = { b: one.benchmark, r: one.record, left: one.left, right: one.right };
    if (one.part) parts.part = one.part;
    if (one.failures.length) parts.fail = one.failures.join(",");
    if (one.low > 0) parts.low = one.low;
    if (one.high < 1) parts.high = one.high;
    if (one.text) parts.find = one.text;
    if (one.order !== "number") parts.order = one.order;
    const said = Object.entries(parts).filter(([, value]) => value !== null);
    return `#${said.map(([key, value]) => `${key}=${encodeURIComponent(value).replaceAll("%3A", ":").replaceAll("%2C", ",")}`).join("&")}`;
  };

  /** Change the state and show it; a `step` is one that the browser's Back undoes. */
  const change = (changed, step = false) => {
    state = { ...state, ...changed };
    if (step) history.pushState(null, "", addressOf(state));
    else {
      clearTimeout(saving); // browsers slow pages down that do this for every letter
      saving = setTimeout(() => history.replaceState(null, "", addressOf(state)), SAVE_MS);
    }
    return show(changed);
  };

  const show = async (changed) => {
    const own = (turn += 1);
    try {
      if (benchmark?.name !== state.benchmark) await openBenchmark();
      if (own !== turn) return;
      if (!changed || !("record" in changed || "part" in changed) || Object.keys(changed).length > 1) filter();
      list.draw();
      await showRecord(own);
    } catch (error) {
      if (own === turn) notice(error.message);
    }
  };

  const openBenchmark = async () => {
    const next = index.benchmarks.find((one) => one.name === state.benchmark);
    const found = await loadRows(next.name, next.lists);
    if (state.benchmark !== next.name) return;
    benchmark = next;
    rows = found;
    rows.forEach((row, number) => {
      row.number = number;
      row.search ??= [`#${number}`, row.question, row.truth, row.labels, ...Object.values(row.runs).map((run) => run[2])].join("\n").toLowerCase();
    });
    for (const tab of document.querySelectorAll(".benchmarks button")) {
      tab.setAttribute("aria-pressed", String(tab.dataset.name === benchmark.name));
    }
    for (const side of ["left", "right"]) {
      const select = find(`select[name=${side}]`);
      const options = side === "right" ? [new Option("no other", "")] : [];
      select.replaceChildren(...options, ...groups());
    }
  };

  const groups = () => {
    const made = new Map();
    for (const run of benchmark.runs) {
      if (!made.has(run.model)) {
        made.set(run.model, make("optgroup"));
        made.get(run.model).label = titled(run.model);
      }
      made.get(run.model).append(new Option(`${titled(run.model)}, ${run.label}`, nameOf(run)));
    }
    return made.values();
  };

  // ---- filters ----------------------------------------------------------------------------------------------

  const filter = () => {
    const left = runOf(state.left), right = state.right ? runOf(state.right) : -1;
    const words = state.text.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = new Set(state.failures);
    const counts = new Map(), bins = new Array(BINS).fill(0);
    shown = [];
    for (const row of rows) {
      const run = row.runs[left];
      if (!run || !words.every((word) => row.search.includes(word))) continue;
      const [score, failed] = run;
      const inside = score >= state.low - 1e-9 && score <= state.high + 1e-9;
      const kinds = failed.length ? failed : [FAILURE_NONE];
      if (inside) for (const kind of kinds) counts.set(kind, (counts.get(kind) ?? 0) + 1);
      if (wanted.size && !kinds.some((kind) => wanted.has(kind))) continue;
      bins[Math.min(BINS - 1, Math.floor(score * BINS))] += 1;
      if (inside) shown.push(row);
    }
    const gain = (row) => row.runs[left][0] - (row.runs[right]?.[0] ?? 0);
    const keys = { worst: (row) => row.runs[left][0], best: (row) => -row.runs[left][0], lost: gain, gained: (row) => -gain(row) };
    const key = keys[state.order];
    if (key) shown.sort((a, b) => key(a) - key(b) || a.number - b.number);
    writeFilters(counts, bins, left, right);
  };

  const writeFilters = (counts, bins, left, right) => {
    find("select[name=left]").value = state.left;
    find("select[name=right]").value = state.right;
    find("select[name=order]").value = state.order;
    for (const option of find("select[name=order]").options) option.disabled = right < 0 && ["lost", "gained"].includes(option.value);
    const text = find("input[name=text]");
    if (text.value !== state.text) text.value = state.text;
    for (const name of ["low", "high"]) {
      const input = find(`input[name=${name}]`);
      input.value = state[name];
      input.nextElementSibling.textContent = Number(state[name]).toFixed(2);
    }
    for (const button of document.querySelectorAll(".failures button")) {
      button.setAttribute("aria-pressed", String(state.failures.includes(button.dataset.key)));
      const count = counts.get(button.dataset.key) ?? 0;
      button.lastElementChild.textContent = count.toLocaleString("en");
      button.classList.toggle("few", !count);
    }
    const most = Math.max(1, ...bins);
    find(".histogram").replaceChildren(...bins.map((count, k) => {
      const bar = make("i");
      bar.style.height = `${count ? Math.max(4, (100 * count) / most) : 0}%`;
      bar.classList.toggle("outside", (k + 1) / BINS <= state.low || k / BINS > state.high - (state.high < 1 ? 1e-9 : 0));
      return bar;
    }));
    const mean = (run) => written(shown.reduce((sum, row) => sum + (row.runs[run]?.[0] ?? 0), 0) / shown.length);
    const means = shown.length ? [make("b", "left", mean(left)), right < 0 ? null : make("b", "right", mean(right))] : [];
    find(".count").replaceChildren(
      make("span", "", `${shown.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")} records`),
      means.length ? make("span", "means", "mean score ", ...means) : "",
    );
  };

  // ---- the list ---------------------------------------------------------------------------------------------

  const rowOf = (row) => {
    const left = runOf(state.left), right = state.right ? runOf(state.right) : -1;
    const option = make("div", "", make("p", "question", row.question || "(no question)"));
    const failed = row.runs[left][1].map((key) => index.failures.find((one) => one.key === key)?.title);
    const pills = make("span", "pills");
    for (const [side, run] of [["left", left], ["right", right]]) {
      if (run >= 0) pills.append(shade(make("span", `pill ${side}`, written(row.runs[run]?.[0])), row.runs[run]?.[0]));
    }
    option.append(make("p", "facts", `${row.number} · ${failed.join(", ") || CORRECT}`), pills);
    return option;
  };

  const list = listOf({
    element: find(".records"), rowHeight: ROW, rows: () => shown, rowOf, chosen: () => state.record,
    choose: (row, step) => change({ record: row.number }, step), empty: "No record fits these filters.",
  });

  // ---- one record -------------------------------------------------------------------------------------------

  const main = find("main");

  const notice = (text) => {
    stop();
    current = null;
    main.replaceChildren(make("p", "notice", text));
  };

  const stop = () => {
    openo3Browse.stop(main);
    players = [];
  };

  const showRecord = async (own) => {
    if (state.record === null) {
      if (!shown.length) return notice("No record fits these filters.");
      state.record = shown[0].number;
      history.replaceState(null, "", addressOf(state));
      list.draw();
    }
    const row = rows[state.record];
    const page = await loadPage(benchmark.name, row.page);
    if (own !== turn) return;
    const record = page.find((one) => one.number === state.record);
    const sides = ["left", "right"].filter((side) => state[side]);
    const kinds = [...new Set(Object.values(record.runs).flatMap((answer) => answer.parts.map((part) => part.kind)))];
    const part = kinds.includes(state.part) ? state.part : kinds[0];
    const view = JSON.stringify([benchmark.name, state.record, state.left, state.right, part]);
    if (view === current) return;
    stop();
    current = view;
    document.title = `${record.question || "Record"} · ${benchmark.title} ${record.number}`;
    const panes = make("div", "panes");
    panes.style.setProperty("--panes", sides.length);
    const answers = sides.map((side) => record.runs[runOf(state[side])]?.parts.find((one) => one.kind === part && one.asked));
    const focused = main.contains(document.activeElement) && document.activeElement.dataset.part;
    main.replaceChildren(headOf(record), tabsOf(record, kinds, part), askedOf(record, answers), panes, tableOf(record, kinds));
    const begins = beginning(record, answers.filter(Boolean));
    sides.forEach((side, k) => panes.append(paneOf(record, side, answers[k], begins)));
    main.scrollTop = 0;
    if (focused) main.querySelector('.parts [aria-pressed="true"]').focus();
  };

  const headOf = (record) => {
    const labels = [benchmark.title, `record ${record.number}`, ...record.labels];
    if (record.media.duration_s) labels.push(`${record.media.duration_s.toFixed(1)} s`);
    if (record.segment) labels.push(`about ${record.segment.map((time) => `${Number(time.toFixed(2))} s`).join(" to ")} of its clip`);
    const head = make("header", "record", make("p", "labels", labels.join(" · ")), make("h2", "", record.question || "(no question)"));
    if (record.options.length) head.append(make("ul", "options", ...record.options.map((option) => make("li", "", option))));
    if (record.truth.text) head.append(make("p", "truth", make("b", "", "Truth"), " ", record.truth.text));
    return head;
  };

  const tabsOf = (record, kinds, part) => {
    const tabs = make("div", "parts");
    tabs.setAttribute("role", "group");
    tabs.setAttribute("aria-label", "Questions of the record");
    kinds.forEach((kind, k) => {
      const tab = make("button", "", make("span", "", titleOf(kind)));
      tab.type = "button";
      tab.title = `Key ${k + 1}`;
      tab.dataset.part = kind;
      tab.setAttribute("aria-pressed", String(kind === part));
      for (const side of ["left", "right"]) {
        const found = record.runs[runOf(state[side])]?.parts.find((one) => one.kind === kind);
        if (found) tab.append(shade(make("b", `pill ${side}`, written(found.score)), found.score));
      }
      tab.addEventListener("click", () => change({ part: kind }, true));
      tabs.append(tab);
    });
    return tabs;
  };

  /** `when_2` -> `When 2` */
  const titleOf = (kind) => {
    const [head, order] = kind.split("_");
    const title = head.charAt(0).toUpperCase() + head.slice(1);
    return order ? `${title} ${order}` : title;
  };

  const failureOf = (key) => {
    const failure = index.failures.find((one) => one.key === key);
    const badge = make("span", `badge ${failure ? "bad" : "good"}`, failure?.title ?? CORRECT);
    if (failure) badge.title = failure.meaning;
    return badge;
  };

  /** The question of this part where it is not the record's own. */
  const askedOf = (record, answers) => {
    const asked = answers.find(Boolean)?.prompt.split("\n")[0] ?? "";
    const line = make("p", "asked", asked);
    line.hidden = !asked || asked === record.question;
    return line;
  };

  const paneOf = (record, side, part, begins) => {
    const run = benchmark.runs[runOf(state[side])];
    const answered = Boolean(record.runs[runOf(state[side])]);
    const pane = make("section", `pane ${side}`);
    pane.setAttribute("aria-label", `${titled(run.model)}, ${run.label}`);
    const heading = make("h3", "", make("i", `side ${side}`), titled(run.model), make("small", "", run.label));
    pane.append(heading);
    if (!part) {
      pane.append(make("p", "notice", answered ? "It was not asked this question: the clip has no frames." : "It was not asked about this record."));
      return pane;
    }
    heading.append(shade(make("b", `pill ${side}`, written(part.score)), part.score));
    const badges = part.failures.length ? part.failures.map(failureOf) : part.score === null ? [] : [failureOf(null)];
    heading.append(make("span", "badges", ...badges));
    if (record.missing) pane.append(make("p", "notice", `The clip cannot be shown: ${record.missing}.`));
    const place = make("div", "player");
    pane.append(place);
    const player = openo3Player(place, { ...part.shown, media: record.media, truth: record.truth });
    player.seek(begins);
    players.push(player);
    pane.append(details("As written", part.text || "(nothing)"), details("As asked", part.prompt));
    return pane;
  };

  /** The first moment with something to see, the same for both sides. */
  const beginning = (record, answers) => {
    const end = record.media.duration_s ?? Infinity;
    const times = answers.flatMap((part) => part.shown.claims.map((claim) => claim.time_s)).filter((time) => time !== null);
    const spans = [...answers.flatMap((part) => part.shown.spans), ...record.truth.spans];
    const first = times.find((time) => time <= end) ?? spans[0]?.[0] ?? record.start_s;
    return Math.min(first, end);
  };

  const details = (title, text) => make("details", "raw", make("summary", "", title), make("pre", "", text));

  const tableOf = (record, kinds) => {
    const head = make("tr", "", ...["Every answer to this record", "Overall", ...kinds.map(titleOf), "Answer"].map((text) => {
      const cell = make("th", "", text);
      cell.scope = "col";
      return cell;
    }));
    const body = benchmark.runs.map((run, k) => {
      const answer = record.runs[k];
      if (!answer) return null;
      const name = make("th");
      name.scope = "row";
      const link = make("a", "", titled(run.model), make("small", "", run.label));
      link.href = addressOf({ ...state, left: nameOf(run) });
      link.title = "Show on the left";
      name.append(link);
      const line = make("tr", nameOf(run) === state.left ? "left" : nameOf(run) === state.right ? "right" : "", name);
      const parts = kinds.map((kind) => answer.parts.find((one) => one.kind === kind));
      for (const score of [answer.score, ...parts.map((part) => part?.score ?? null)]) line.append(shade(make("td", "score", written(score)), score));
      line.append(make("td", "said", rows[record.number].runs[k][2] || "–"));
      return line;
    });
    const scroll = make("div", "scroll", make("table", "every", make("thead", "", head), make("tbody", "", ...body)));
    scroll.tabIndex = 0;
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", "Every answer to this record");
    return scroll;
  };

  // ---- events -----------------------------------------------------------------------------------------------

  const begin = () => {
    const tabs = index.benchmarks.map((one) => {
      const tab = make("button", "", one.title, make("small", "", one.records.toLocaleString("en")));
      tab.type = "button";
      tab.dataset.name = one.name;
      tab.addEventListener("click", () => {
        history.pushState(null, "", `#b=${encodeURIComponent(one.name)}`);
        state = readAddress();
        list.restart();
        show();
      });
      return tab;
    });
    find(".benchmarks").append(...tabs);
    find("select[name=order]").append(...Object.entries(ORDERS).map(([key, text]) => new Option(text, key)));
    for (const { key, title, meaning } of [{ key: FAILURE_NONE, title: CORRECT, meaning: "no failure" }, ...index.failures]) {
      const button = make("button", key === FAILURE_NONE ? "good" : "bad", title, make("b"));
      button.type = "button";
      button.title = meaning;
      button.dataset.key = key;
      button.addEventListener("click", () => {
        const without = state.failures.filter((one) => one !== key);
        filtered({ failures: without.length < state.failures.length ? without : [...without, key] });
      });
      find(".failures").append(button);
    }
    for (const name of ["left", "right", "order"]) {
      find(`select[name=${name}]`).addEventListener("change", (event) => change({ [name]: event.target.value }, true));
    }
    for (const name of ["low", "high"]) {
      find(`input[name=${name}]`).addEventListener("input", (event) => {
        const value = Number(event.target.value);
        filtered(name === "low" ? { low: value, high: Math.max(value, state.high) } : { high: value, low: Math.min(value, state.low) });
      });
    }
    listen({ main, help: find("dialog"), search: (text) => filtered({ text }), press, follow });
  };

  /** A filter changed: the list begins anew, the record stays. */
  const filtered = (changed) => {
    list.restart();
    change(changed);
  };

  const follow = () => {
    const next = readAddress();
    if (addressOf(next) === addressOf(state)) return;
    state = next;
    show().then(() => list.reveal());
  };

  const press = (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented || find("dialog").open) return;
    if (event.target.closest("input, select, textarea")) {
      if (event.key === "Escape") find(".records").focus();
      return;
    }
    const tabs = [...main.querySelectorAll(".parts button")];
    if (event.key === "j") list.move((now) => now + 1);
    else if (event.key === "k") list.move((now) => now - 1);
    else if (event.key === "/") find("input[name=text]").focus();
    else if (event.key === "?") find("dialog").showModal();
    else if (event.key === "x" && state.right) change({ left: state.right, right: state.left }, true);
    else if (event.key === "p") playAll();
    else if (/^[1-9]$/.test(event.key) && tabs[event.key - 1]) change({ part: tabs[event.key - 1].dataset.part }, true);
    else return;
    event.preventDefault();
  };

  const playAll = () => {
    const videos = [...main.querySelectorAll("video")];
    const going = videos.some((video) => !video.paused && !video.ended);
    for (const video of videos) {
      if (going) video.pause();
      else {
        if (!going && (video.ended || video !== videos[0])) video.currentTime = videos[0].ended ? 0 : videos[0].currentTime;
        video.play().catch(() => {});
      }
    }
  };

  load("index").then((value) => {
    index = value;
    begin();
    state = readAddress();
    return show().then(() => list.reveal());
  }).catch((error) => notice(error.message));
})();
