"use strict";
/* Correcting a record and deciding about it, on the page that `openo3 look --serve` serves.

   A correction is a sentence to the server, such as {do: "move_box", at, to}, and a draft comes back: what boxes
   and texts are is read in one place, there. Nothing is written before a decision, or S. Each record has a
   version; where somebody else was faster, the server says what changed and the person chooses. */
globalThis.openo3Editing = (page) => {
  const { find, make } = openo3Browse;
  const DECISIONS = ["undecided", "accepted", "rejected"];
  const POLL_MS = 2500, NEAR_S = 0.3, SAME_S = 0.051, STEP = 0.01, STEP_S = 0.1;
  const MARKS = { accepted: "✓", rejected: "✕" };

  const finite = (value) => typeof value === "number" && Number.isFinite(value);
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  const seconds = (time) => `${Number(time.toFixed(2))} s`;
  const percent = (share) => `${(100 * share).toFixed(3)}%`;
  const keyOf = (at) => JSON.stringify(at);

  let states = new Map(), counts = null, seq = 0, key = new URLSearchParams(location.hash.slice(1)).get("key") ?? "";
  let open = null; // {number, version, record, draft, marks, past, dirty, state}
  let view = null, layer = null, panel = null, bar = null, busy = false, editing = false, queue = Promise.resolve();
  const unsaved = new Map(); // number -> {draft, past, version}
  const blobs = new Map(); // address of a clip -> that of its copy here, where a key is needed

  // ---- the server -------------------------------------------------------------------------------------------

  const askKey = () => new Promise((resolve) => {
    const dialog = find("dialog.ask-key");
    dialog.addEventListener("close", () => { key = dialog.querySelector("input").value; resolve(); }, { once: true });
    dialog.showModal();
  });

  const ask = async (path, body) => {
    const headers = key ? { Authorization: `Bearer ${key}` } : {};
    const post = { method: "POST", headers: { ...headers, "Content-Type": "application/json" }, body: JSON.stringify(body) };
    let response;
    try {
      response = await fetch(path, body ? post : { headers });
    } catch {
      throw new Error("The server cannot be reached. Is it still running?");
    }
    if (response.status === 401) {
      await askKey();
      return ask(path, body);
    }
    if (response.ok) return path.startsWith("media/") ? response.blob() : response.json();
    const value = await response.json().catch(() => null);
    throw Object.assign(new Error(value?.error?.message ?? `the server answered with status ${response.status}`), { status: response.status, value });
  };

  /** The record with a clip that a `<video>` can load: it sends no key. */
  const withClip = async (record) => {
    const { url } = record.media;
    if (!key || !url || url.startsWith("blob:")) return record;
    if (!blobs.has(url)) blobs.set(url, URL.createObjectURL(await ask(url)));
    return { ...record, media: { ...record.media, url: blobs.get(url) } };
  };

  const takeStates = (given) => {
    for (const state of given) states.set(state.number, state);
    for (const state of given) {
      const row = page.rows()[state.number];
      if (row) row.decision = state.decision;
    }
  };

  const poll = async () => {
    const found = await ask(`api/changes?since=${seq}`);
    if (found.seq < seq) seq = 0; // another run of the server
    else seq = found.seq;
    if (!found.states.length) return writeCounts(found.counts);
    takeStates(found.states);
    writeCounts(found.counts);
    page.draw();
    const mine = open && found.states.find((state) => state.number === open.number);
    if (!mine || mine.version <= open.version || busy) return;
    const who = mine.by || "Somebody";
    if (open.dirty) return say(`${who} changed this record meanwhile. Saving will show what changed.`, "bad");
    await reload();
    say(`${who} changed this record just now; it is shown as it is now.`);
  };

  const writeCounts = (given) => {
    counts = given;
    const total = page.rows().length || 1;
    find(".progress .done").textContent = `${counts.accepted.toLocaleString("en")} accepted, ${counts.rejected.toLocaleString("en")} rejected, ${counts.undecided.toLocaleString("en")} left`;
    for (const name of ["accepted", "rejected"]) find(`.progress i.${name}`).style.width = percent(counts[name] / total);
  };

  // ---- opening a record -------------------------------------------------------------------------------------

  const loadRecord = async (row) => {
    const kept = unsaved.get(row.number);
    const found = await ask(`api/records/${row.number}`);
    if (!kept) return { ...found, record: await withClip(found.record) };
    const changed = await ask(`api/records/${row.number}/change`, { draft: kept.draft });
    return { ...found, ...changed, record: await withClip(changed.record), kept };
  };

  const shown = (found, given) => {
    view = given;
    const version = found.kept?.version ?? found.state.version;
    open = { number: found.record.number, version, record: found.record, draft: found.draft, marks: found.marks, past: found.kept?.past ?? [], dirty: Boolean(found.kept), state: found.state };
    states.set(open.number, found.state);
    makeBar();
    panel = make("section", "editor");
    panel.setAttribute("aria-label", "Edit the record");
    view.place.after(panel);
    layer = make("div", "edit-layer");
    layer.addEventListener("pointerdown", drawBox);
    const video = view.place.querySelector("video");
    for (const name of ["seeked", "timeupdate", "loadedmetadata"]) video?.addEventListener(name, drawLayer);
    showEditing();
  };

  const left = () => {
    if (open?.dirty) unsaved.set(open.number, { draft: open.draft, past: open.past, version: open.version });
    open = view = layer = panel = bar = null;
  };

  const reload = async () => {
    const { number } = open;
    open.dirty = false;
    unsaved.delete(number);
    const found = await ask(`api/records/${number}`);
    if (open?.number === number) page.render({ ...found, record: await withClip(found.record) });
  };

  // ---- changes ----------------------------------------------------------------------------------------------

  const take = async (found) => {
    const { record, draft, marks } = found;
    Object.assign(open, { record: await withClip(record), draft, marks });
    view?.update(open.record);
    writePanel();
    drawLayer();
    writeBar();
  };

  /** One correction after the other; `wanted` makes it when its turn comes, or null for none. */
  const correct = (wanted) => {
    const { number } = open;
    queue = queue.then(async () => {
      if (open?.number !== number) return;
      const change = wanted();
      if (!change) return;
      try {
        const before = open.draft;
        const found = await ask(`api/records/${number}/change`, { draft: before, change });
        if (open?.number !== number) return;
        if (JSON.stringify(found.draft) === JSON.stringify(before)) return drawLayer();
        open.past.push(before);
        open.dirty = true;
        await take(found);
        say("");
        page.draw();
      } catch (error) {
        say(error.message, "bad");
        drawLayer();
      }
    });
    return queue;
  };

  const undo = () => {
    if (!open?.past.length) return say("There is nothing to take back.");
    const { number } = open, draft = open.past.pop();
    queue = queue.then(async () => {
      const found = await ask(`api/records/${number}/change`, { draft });
      if (open?.number !== number) return;
      if (!open.past.length) {
        open.dirty = false;
        unsaved.delete(number);
      }
      await take(found);
      say("The last change is taken back.");
      page.draw();
    }).catch((error) => say(error.message, "bad"));
  };

  // ---- decisions --------------------------------------------------------------------------------------------

  const decide = async (decision, { stay = false } = {}) => {
    if (!open || busy) return;
    busy = true;
    await queue;
    const own = open;
    const body = { version: own.version, decision, why: decision === "rejected" ? bar.why.value : "", by: find("input[name=by]").value, draft: own.dirty ? own.draft : null };
    say("Writing", "busy");
    try {
      await written(own, await ask(`api/records/${own.number}/decision`, body), stay);
    } catch (error) {
      if (error.status === 409) await conflict(own, body, error.value, stay);
      else say(error.message, "bad");
    } finally {
      busy = false;
    }
  };

  const written = async (own, answer, stay) => {
    unsaved.delete(own.number);
    takeStates([answer.state]);
    writeCounts(answer.counts);
    const row = page.rows()[own.number];
    row.question = answer.record.question.slice(0, 160);
    if (open !== own) return page.redraw();
    Object.assign(own, { version: answer.state.version, state: answer.state, dirty: false, past: [] });
    await take(answer);
    const places = page.shown().map((one) => one.number), here = places.indexOf(own.number);
    const next = places[here + 1];
    page.redraw();
    const words = { accepted: "Accepted", rejected: "Rejected", undecided: "Saved, undecided" };
    say(`${words[answer.state.decision]}.`, "good");
    if (!stay && bar.goOn.checked && next !== undefined) {
      page.open(next);
      page.reveal();
    }
  };

  const conflict = async (own, body, value, stay) => {
    const dialog = find("dialog.conflict");
    const at = value.at ? ` at ${value.at.slice(11, 16)} UTC` : "";
    dialog.querySelector(".who").textContent = `${value.by || "Somebody without a name"} was faster${at}:`;
    dialog.querySelector("ul").replaceChildren(...value.changes.map((text) => make("li", "", text)));
    const choice = await new Promise((resolve) => {
      const buttons = [...dialog.querySelectorAll("button")];
      const chosen = (event) => { dialog.returnValue = event.currentTarget.value; dialog.close(event.currentTarget.value); };
      for (const button of buttons) button.onclick = chosen;
      dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true });
      dialog.returnValue = "";
      dialog.showModal();
    });
    if (choice === "mine") {
      try {
        await written(own, await ask(`api/records/${own.number}/decision`, { ...body, version: value.now.state.version }), stay);
      } catch (error) {
        say(error.status === 409 ? "It changed once more. Decide again." : error.message, "bad");
      }
    } else if (choice === "theirs") {
      takeStates([value.now.state]);
      writeCounts(value.now.counts);
      if (open === own) await reload();
      page.draw();
      say("This is what the other one wrote.");
    } else say("Nothing was written.", "bad");
  };

  // ---- the bar ----------------------------------------------------------------------------------------------

  const button = (text, letter, action, style = "") => {
    const made = make("button", style, text, letter ? make("kbd", "", letter) : null);
    made.type = "button";
    made.addEventListener("click", action);
    return made;
  };

  const makeBar = () => {
    const before = bar;
    const element = make("div", "decide");
    element.setAttribute("role", "group");
    element.setAttribute("aria-label", "Decision");
    const why = make("input");
    Object.assign(why, { name: "why", maxLength: 500, placeholder: "why, if rejected (W)", autocomplete: "off" });
    why.setAttribute("aria-label", "Why it is rejected");
    why.addEventListener("keydown", (event) => {
      if (event.key === "Enter") { event.preventDefault(); decide("rejected"); }
      if (event.key === "Escape") view.main.focus();
    });
    const goOn = make("input");
    goOn.type = "checkbox";
    goOn.checked = before ? before.goOn.checked : goOnByDefault;
    goOn.addEventListener("change", () => { goOnByDefault = goOn.checked; });
    const said = make("p", "said");
    said.setAttribute("role", "status");
    const accept = button("Accept", "A", () => decide("accepted"), "accept"), reject = button("Reject", "R", () => decide("rejected"), "reject");
    const clear = button("Undecided", "U", () => decide("undecided", { stay: true }));
    const edit = button("Edit", "E", () => toggleEditing(), "edit"), save = button("Save", "S", () => saveOnly()), back = button("Take back", "Ctrl Z", undo);
    const on = make("label", "go-on", goOn, " go on to the next");
    element.append(make("div", "row-of", accept, reject, why, clear, on), make("div", "row-of", edit, save, back, said));
    bar = { element, why, goOn, said, accept, reject, edit, save, back };
    view.main.append(element);
    writeBar();
  };
  let goOnByDefault = true;

  const saveOnly = () => {
    if (!open.dirty) return say("There is nothing to save.");
    decide(open.state.decision, { stay: true });
  };

  const writeBar = () => {
    if (!bar) return;
    bar.accept.setAttribute("aria-pressed", String(open.state.decision === "accepted"));
    bar.reject.setAttribute("aria-pressed", String(open.state.decision === "rejected"));
    bar.edit.setAttribute("aria-pressed", String(editing));
    bar.save.disabled = !open.dirty;
    bar.back.disabled = !open.past.length;
    if (open.state.decision === "rejected" && !bar.why.value) bar.why.value = open.state.why;
    bar.save.classList.toggle("unsaved", open.dirty);
  };

  const say = (text, style = "") => {
    if (!bar) return;
    bar.said.textContent = text || (open.dirty ? "Not saved yet." : stateText());
    bar.said.className = `said ${style}`;
  };

  const stateText = () => {
    const { decision, by, why, edited } = open.state;
    if (!open.state.version) return "";
    return [`${decision}${by ? ` by ${by}` : ""}`, edited && "with corrections", why].filter(Boolean).join(", ");
  };

  // ---- boxes on the clip ------------------------------------------------------------------------------------

  const toggleEditing = () => {
    editing = !editing;
    view.place.querySelector("video")?.pause();
    showEditing();
    if (editing) (layer.querySelector(".edit-box") ?? panel.querySelector("textarea, input"))?.focus();
  };

  const showEditing = () => {
    const stage = view.place.querySelector(".o3-stage");
    stage.classList.toggle("editing", editing);
    view.main.classList.toggle("editing", editing);
    if (editing && open.record.media.url) stage.append(layer);
    else layer.remove();
    panel.hidden = !editing;
    writePanel();
    drawLayer();
    writeBar();
    say("");
  };

  const now = () => view.place.querySelector("video")?.currentTime ?? 0;
  const isImage = () => open.record.media.kind === "image";

  /** The moment that is edited: the nearest one to what the clip shows. */
  const momentNow = () => {
    const times = [...open.draft.key_frames.map((frame) => frame.time_s), ...open.marks.map((mark) => mark.time_s)].filter(finite);
    const near = times.filter((time) => Math.abs(time - now()) <= NEAR_S);
    return near.length ? near.reduce((a, b) => (Math.abs(a - now()) <= Math.abs(b - now()) ? a : b)) : null;
  };

  const frameAt = (time) => open.draft.key_frames.find((frame) => Math.abs(frame.time_s - time) < SAME_S);

  const drawLayer = () => {
    if (!editing || !layer || dragging) return;
    const focused = document.activeElement?.closest?.(".edit-box")?.dataset.at;
    const moment = isImage() ? null : momentNow();
    const here = open.marks.filter((mark) => !mark.follows && (isImage() || mark.time_s === null || (moment !== null && Math.abs(mark.time_s - moment) < SAME_S)));
    layer.replaceChildren(...here.map(boxOf));
    layer.title = isImage() ? "" : "Drag to draw a new box";
    if (focused) [...layer.children].find((one) => one.dataset.at === focused)?.focus({ preventScroll: true });
  };

  const place = (element, [x1, y1, x2, y2]) => Object.assign(element.style, { left: percent(x1), top: percent(y1), width: percent(x2 - x1), height: percent(y2 - y1) });

  const CORNERS = { nw: [1, 1, 0, 0], ne: [0, 1, 1, 0], sw: [1, 0, 0, 1], se: [0, 0, 1, 1] };
  let dragging = null;

  const boxOf = (mark) => {
    const element = make("div", `edit-box ${mark.at.in === "key_items" ? "item" : "cited"}`, make("span", "o3-label", mark.name || "box"));
    if (mark.box[1] < 0.12) element.firstChild.classList.add(mark.box[3] > 0.88 ? "o3-within" : "o3-below");
    if (mark.box[0] > 0.6) element.firstChild.classList.add("o3-right");
    element.dataset.at = keyOf(mark.at);
    element.tabIndex = 0;
    element.setAttribute("role", "group");
    const where = mark.box.map((value) => `${Math.round(100 * value)} %`).join(", ");
    element.setAttribute("aria-label", `${mark.name}${mark.time_s === null ? "" : ` at ${seconds(mark.time_s)}`}, ${mark.at.in === "key_items" ? "key item" : "cited"}, ${where}. Arrow keys move it, with Shift they resize it, Delete removes it.`);
    place(element, mark.box);
    for (const corner of Object.keys(CORNERS)) {
      const handle = make("i", `handle ${corner}`);
      handle.dataset.corner = corner;
      element.append(handle);
    }
    element.addEventListener("pointerdown", (event) => drag(event, element, mark));
    element.addEventListener("keydown", (event) => nudge(event, element, mark));
    return element;
  };

  const shift = (box, dx, dy, sides) => {
    const [a, b, c, d] = sides;
    const moved = [box[0] + a * dx, box[1] + b * dy, box[2] + c * dx, box[3] + d * dy];
    if (a && b && c && d) { // as a whole: it keeps its size
      const x = clamp(dx, -box[0], 1 - box[2]), y = clamp(dy, -box[1], 1 - box[3]);
      if (box[2] - box[0] <= 1 && box[3] - box[1] <= 1) return [box[0] + x, box[1] + y, box[2] + x, box[3] + y];
    }
    return moved.map((value) => clamp(value, 0, 1));
  };

  const drag = (event, element, mark) => {
    if (event.button !== 0) return;
    event.preventDefault();
    event.stopPropagation();
    element.focus({ preventScroll: true });
    const sides = CORNERS[event.target.dataset.corner] ?? [1, 1, 1, 1], { width, height } = layer.getBoundingClientRect();
    const [x, y] = [event.clientX, event.clientY];
    let box = mark.box;
    follow(element, event, (moved) => {
      box = shift(mark.box, (moved.clientX - x) / width, (moved.clientY - y) / height, sides);
      place(element, [Math.min(box[0], box[2]), Math.min(box[1], box[3]), Math.max(box[0], box[2]), Math.max(box[1], box[3])]);
    }, () => {
      if (box !== mark.box) correct(() => ({ do: "move_box", at: mark.at, to: box }));
      else drawLayer();
    });
  };

  /** Follow the pointer from its press until it is let go. */
  const follow = (element, event, moved, ended) => {
    dragging = element;
    element.setPointerCapture(event.pointerId);
    const stopped = (done) => {
      element.removeEventListener("pointermove", moved);
      for (const name of ["pointerup", "pointercancel"]) element.removeEventListener(name, stopped);
      dragging = null;
      if (done.type === "pointerup") ended(done);
      else drawLayer();
    };
    element.addEventListener("pointermove", moved);
    for (const name of ["pointerup", "pointercancel"]) element.addEventListener(name, stopped);
  };

  const nudge = (event, element, mark) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const moves = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };
    const removes = event.key === "Delete" || event.key === "Backspace";
    if (!(event.key in moves) && !removes) return;
    event.preventDefault();
    event.stopPropagation(); // the player would go to another moment
    if (removes) return correct(() => ({ do: "remove_box", at: mark.at }));
    const [dx, dy] = moves[event.key];
    correct(() => { // from where the box is by then
      const same = open.marks.find((one) => keyOf(one.at) === keyOf(mark.at));
      return same && { do: "move_box", at: same.at, to: shift(same.box, dx, dy, event.shiftKey ? CORNERS.se : [1, 1, 1, 1]) };
    });
  };

  /** Draw a new box, or play where the pointer was only pressed. */
  const drawBox = (event) => {
    if (event.button !== 0 || event.target !== layer) return;
    const video = view.place.querySelector("video");
    if (!video) return;
    event.preventDefault();
    video.pause();
    const { left: x0, top: y0, width, height } = layer.getBoundingClientRect();
    const at = (one) => [clamp((one.clientX - x0) / width, 0, 1), clamp((one.clientY - y0) / height, 0, 1)];
    const first = at(event), rubber = make("div", "edit-box new");
    let box = null;
    layer.append(rubber);
    follow(layer, event, (moved) => {
      const second = at(moved);
      box = [Math.min(first[0], second[0]), Math.min(first[1], second[1]), Math.max(first[0], second[0]), Math.max(first[1], second[1])];
      place(rubber, box);
    }, () => {
      rubber.remove();
      if (!box || box[2] - box[0] < 0.02 || box[3] - box[1] < 0.02) return drawLayer();
      addBox(box);
    });
  };

  /** A new box at the moment that is shown, in its key frame or a new one. */
  const addBox = (box) => {
    const moment = momentNow() ?? Number(now().toFixed(2)), frame = frameAt(moment);
    const name = panel.querySelector("input[name=object]")?.value.trim() || open.marks.at(-1)?.name || "object";
    return correct(() => ({ do: "add_box", name, box, ...(frame ? { idx: frame.idx } : { time_s: moment }) }));
  };

  // ---- the panel: times, boxes and texts --------------------------------------------------------------------

  const isTimed = () => (open.record.task ?? "").startsWith("temporal QA");

  const field = (title, input, style = "") => make("label", `field ${style}`, make("span", "", title), input);

  const textField = (name, title, value, where) => {
    const input = make("textarea");
    Object.assign(input, { name, value, rows: Math.min(9, 1 + Math.ceil(value.length / 90)), spellcheck: true });
    input.addEventListener("change", () => correct(() => ({ do: "set_text", in: where, to: input.value })));
    return field(title, input, name);
  };

  const numberField = (value, step, changed, name) => {
    const input = make("input");
    Object.assign(input, { type: "number", step, value: Number(value.toFixed(4)), name });
    input.setAttribute("aria-label", name);
    input.addEventListener("change", () => { if (input.value !== "" && finite(input.valueAsNumber)) changed(input.valueAsNumber); });
    return input;
  };

  const writePanel = () => {
    if (!editing || !panel) return;
    const focused = document.activeElement, inside = panel.contains(focused) ? focused : null;
    const named = inside && { name: inside.name || inside.dataset.focus, start: inside.type === "textarea" ? inside.selectionStart : null };
    const { draft, record } = open;
    const parts = [];
    if (record.media.duration_s) parts.push(laneOf(record.media.duration_s));
    if (!isImage()) parts.push(boxesTable());
    parts.push(textField("question", "Question", draft.question, "question"), ...answerFields());
    if (record.split === "sft") parts.push(textField("reasoning", "Reasoning, in the evidence grammar", draft.reasoning ?? "", "reasoning"));
    panel.replaceChildren(...parts);
    if (!named?.name) return;
    const again = [...panel.querySelectorAll("input, textarea, [data-focus]")].find((one) => (one.name || one.dataset.focus) === named.name);
    again?.focus({ preventScroll: true });
    if (named.start !== null && again?.type === "textarea") again.setSelectionRange(named.start, named.start);
  };

  const answerFields = () => {
    const { draft, record } = open, span = record.evidence.spans[0];
    if (!isTimed()) return [textField("answer", "Answer", draft.answer, "answer")];
    const change = (start, end) => correct(() => ({ do: "set_span", start_s: start, end_s: end }));
    const [start, end] = span ?? [0, record.media.duration_s ?? 1];
    const row = make("div", "span-fields", make("span", "legend", "Answer"),
      field("from, s", numberField(start, 0.1, (value) => change(value, Math.max(value, end)), "span from")),
      field("to, s", numberField(end, 0.1, (value) => change(Math.min(start, value), value), "span to")));
    if (!span) row.append(make("span", "bad", "the file has no span that can be read; set one"));
    return record.task === "temporal QA" ? [row] : [row, textField("answer", "Answer as text, with its option", draft.answer, "answer")];
  };

  const boxesTable = () => {
    const { draft, marks } = open;
    const section = make("div", "frames-edit");
    for (const frame of draft.key_frames) {
      const time = numberField(frame.time_s, 0.1, (value) => correct(() => ({ do: "set_time", idx: frame.idx, time_s: value })), `time of key frame ${frame.idx}`);
      const row = make("div", "frame-edit", make("b", "", `Key frame ${frame.idx}`), field("at, s", time),
        button("Show", "", () => view.player.seek(frame.time_s)), button("Set to this moment", "", () => correct(() => ({ do: "set_time", idx: frame.idx, time_s: Number(now().toFixed(3)) }))),
        button("Remove", "", () => correct(() => ({ do: "remove_frame", idx: frame.idx }))));
      section.append(row);
      for (const mark of marks.filter((one) => one.at.in === "key_items" && one.at.idx === frame.idx)) section.append(boxRow(mark, `key frame ${frame.idx}`));
    }
    const object = make("input");
    Object.assign(object, { name: "object", placeholder: "object", value: open.marks.at(-1)?.name ?? "", maxLength: 100 });
    object.setAttribute("aria-label", "Object of a new box");
    const add = button("Add a box here", "", () => addBox([0.35, 0.35, 0.65, 0.65]));
    const frame = button("Add a key frame here", "", () => correct(() => ({ do: "add_frame", time_s: Number(now().toFixed(2)) })));
    section.append(make("div", "frame-edit", field("new box of", object), add, frame, make("span", "soft", "or drag on the clip")));
    return section;
  };

  const boxRow = (mark, where) => {
    const name = make("input");
    const id = `${where}, ${mark.at.name} ${mark.at.box + 1}`;
    Object.assign(name, { value: mark.name, maxLength: 100, name: `object, ${id}` });
    name.setAttribute("aria-label", `Object of a box at ${where}`);
    name.addEventListener("change", () => correct(() => ({ do: "rename", at: mark.at, to: name.value })));
    const sides = ["x1", "y1", "x2", "y2"].map((side, k) => numberField(mark.box[k], 0.01, (value) => {
      const to = mark.box.map((one, place) => (place === k ? value : one));
      correct(() => ({ do: "move_box", at: mark.at, to }));
    }, `${side}, ${id}`));
    return make("div", "box-edit", name, ...sides, button("Remove", "", () => correct(() => ({ do: "remove_box", at: mark.at }))));
  };

  /** The clip's length with key frames and the answer's span, which can be moved. */
  const laneOf = (end) => {
    const track = make("div", "edit-track");
    const at = (time) => percent(clamp(time / end, 0, 1));
    const movable = (style, title, times, move, remove) => {
      const element = make("div", `grip ${style}`);
      element.tabIndex = 0;
      element.dataset.focus = title;
      element.setAttribute("role", "slider");
      element.setAttribute("aria-label", title);
      element.setAttribute("aria-valuemin", "0");
      element.setAttribute("aria-valuemax", end.toFixed(2));
      element.setAttribute("aria-valuenow", times[0].toFixed(2));
      element.setAttribute("aria-valuetext", times.map(seconds).join(" to "));
      element.title = `${title}: ${times.map(seconds).join(" to ")}`;
      const show = (moved) => Object.assign(element.style, { left: at(moved[0]), ...(moved.length > 1 ? { width: percent(clamp(moved[1] / end, 0, 1) - clamp(moved[0] / end, 0, 1)) } : {}) });
      show(times);
      const by = (delta) => {
        const limited = clamp(delta, -times[0], end - times.at(-1)); // what lies after the end comes to it
        return times.map((time) => Number((time + limited).toFixed(3)));
      };
      element.addEventListener("pointerdown", (event) => {
        if (event.button !== 0) return;
        event.preventDefault();
        event.stopPropagation();
        element.focus({ preventScroll: true });
        const { width } = track.getBoundingClientRect(), x = event.clientX;
        let moved = times;
        follow(element, event, (next) => {
          moved = by(((next.clientX - x) / width) * end);
          show(moved);
          view.player.seek(moved[0]);
        }, () => (moved === times ? view.player.seek(times[0]) : move(moved)));
      });
      element.addEventListener("keydown", (event) => {
        if (event.ctrlKey || event.altKey || event.metaKey) return;
        const step = event.shiftKey ? 1 : STEP_S, delta = { ArrowLeft: -step, ArrowRight: step }[event.key];
        if (delta === undefined && !(remove && event.key === "Delete")) return;
        event.preventDefault();
        event.stopPropagation();
        if (delta === undefined) return remove();
        const moved = by(delta);
        view.player.seek(moved[0]);
        move(moved);
      });
      track.append(element);
    };
    const span = isTimed() ? open.record.evidence.spans[0] : null;
    if (span) {
      const set = (start, stop) => correct(() => ({ do: "set_span", start_s: start, end_s: stop }));
      movable("span", "Answer's span", [...span], ([start, stop]) => set(start, stop));
      movable("start", "Start of the answer's span", [span[0]], ([start]) => set(Math.min(start, span[1]), span[1]));
      movable("stop", "End of the answer's span", [span[1]], ([stop]) => set(span[0], Math.max(stop, span[0])));
    }
    for (const frame of open.draft.key_frames) {
      movable("pin", `Key frame ${frame.idx}`, [frame.time_s], ([time]) => correct(() => ({ do: "set_time", idx: frame.idx, time_s: time })), () => correct(() => ({ do: "remove_frame", idx: frame.idx })));
    }
    track.addEventListener("pointerdown", (event) => {
      const { left: x0, width } = track.getBoundingClientRect();
      view.player.seek(clamp((event.clientX - x0) / width, 0, 1) * end);
    });
    return make("div", "edit-lane", make("span", "legend", "Times"), track);
  };

  // ---- keys and marks ---------------------------------------------------------------------------------------

  const nextUndecided = () => {
    const listed = page.shown(), here = listed.findIndex((row) => row.number === page.chosen());
    const after = [...listed.slice(here + 1), ...listed.slice(0, Math.max(0, here))];
    const next = after.find((row) => decisionOf(row) === "undecided");
    if (!next) return say("No record without a decision is left among those that the filters show.");
    page.open(next.number);
    page.reveal();
  };

  const press = (event) => {
    if ((event.ctrlKey || event.metaKey) && !event.altKey && event.key === "z" && open) {
      undo();
      return true;
    }
    if (event.ctrlKey || event.altKey || event.metaKey || !open || event.repeat) return false;
    const keys = {
      a: () => decide("accepted"), r: () => decide("rejected"), u: () => decide("undecided", { stay: true }), n: nextUndecided,
      e: toggleEditing, s: saveOnly, w: () => bar.why.focus(),
    };
    if (!(event.key in keys)) return false;
    keys[event.key]();
    return true;
  };

  const decisionOf = (row) => row.decision ?? "undecided";

  const markOf = (row) => {
    const dirty = unsaved.has(row.number) || (open?.number === row.number && open.dirty);
    const decision = decisionOf(row);
    if (!dirty && decision === "undecided") return null;
    const mark = make("b", `decision ${dirty ? "unsaved" : decision}`, dirty ? "●" : MARKS[decision]);
    mark.setAttribute("role", "img");
    mark.setAttribute("aria-label", dirty ? "not saved" : decision);
    mark.title = dirty ? "not saved" : decision;
    return mark;
  };

  const begin = async () => {
    const found = await ask("api/changes?since=0");
    seq = found.seq;
    takeStates(found.states);
    writeCounts(found.counts);
    find(".progress").title = `Decisions are written to ${found.out}`;
    const by = find("input[name=by]");
    try { by.value = localStorage.getItem("openo3-name") ?? ""; } catch { /* a browser may forbid it */ }
    by.addEventListener("change", () => { try { localStorage.setItem("openo3-name", by.value); } catch { /* likewise */ } });
    setInterval(() => poll().catch((error) => say(error.message, "bad")), POLL_MS);
    addEventListener("beforeunload", (event) => { if (open?.dirty || unsaved.size) event.preventDefault(); });
  };

  const load = (name) => ask(`data/${name}`);

  return { load, loadRecord, shown, left, decisionOf, markOf, press, begin, decisions: DECISIONS };
};
