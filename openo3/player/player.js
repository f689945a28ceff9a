"use strict";
/* An answer's evidence on its clip.

     const player = openo3Player(element, data);
     player.update(data);   // the next state of an answer that is being written
     player.seek(2.5);

   `data` is the JSON of an answer (`openo3 ask --json`) with `media`: {url, kind: "video" or "image",
   size: [W, H], duration_s}. While `data.partial` is true, the answer is still being written; one that is
   complete opens at the first moment that it cites. Where the truth
   is known, `truth` is {title, spans: [[start_s, end_s]], boxes: [{time_s, name, boxes: [[x1, y1, x2, y2]]}]},
   normalised: it is drawn beside what is claimed, under the names of its objects or else its title, by default
   "truth". Texts come from a model: they become text nodes and nothing
   else. */
globalThis.openo3Player = (() => {
  const SOLID_S = 0.15; // so near to a claim's time, its box is drawn as claimed
  const HELD_S = 0.6; // so long a box stays, dashed, before an object's first and after its last claim
  const STEP_S = 0.5; // of the arrow keys
  const COLOURS = 7;
  const LANES = 7; // objects with a line of their own on the timeline; the others share one
  const SPEEDS = [1, 0.5, 0.25, 2];

  const make = (tag, style, text) => {
    const made = document.createElement(tag);
    if (style) made.className = style;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const finite = (value) => typeof value === "number" && Number.isFinite(value);
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  const seconds = (time) => `${Number(time.toFixed(2))} s`;
  const percent = (share) => `${(100 * clamp(share, 0, 1)).toFixed(3)}%`;

  /** The boxes [x1, y1, x2, y2] of a claim, normalised; what is no box is left out. */
  const readBoxes = (claim) =>
    (claim.boxes ?? [])
      .map((box) => box.normalised ?? box)
      .filter((box) => Array.isArray(box) && box.length === 4 && box.every(finite));

  /** The part of a box inside the frame, null if there is none. */
  const visible = ([x1, y1, x2, y2]) => {
    const inside = [x1, y1, x2, y2].map((value) => clamp(value, 0, 1));
    return inside[2] > inside[0] && inside[3] > inside[1] ? inside : null;
  };

  const isLate = (claim, duration) => finite(duration) && claim.time > duration + 0.05;

  /** Why a claim cannot be seen as it says, null if it can. */
  const problemOf = (claim, media, duration) => {
    if (media.kind !== "image" && claim.time === null) return "no time is given";
    if (isLate(claim, duration)) return `the clip ends at ${seconds(duration)}`;
    if (!claim.boxes.length) return "no box is given";
    if (claim.boxes.every(([x1, y1, x2, y2]) => x2 <= x1 || y2 <= y1)) return "the box has no area";
    return claim.boxes.some(visible) ? null : "the box is outside the frame";
  };

  /** Claims, and the objects that they name: one entry per name, with its claims in order of time. */
  const readClaims = (data, duration) => {
    const media = data.media ?? {};
    const objects = new Map();
    const claims = (data.claims ?? []).map((given, index) => {
      const name = String(given.object ?? "");
      const claim = { index, name, boxes: readBoxes(given), time: finite(given.time_s) ? given.time_s : null };
      claim.problem = problemOf(claim, media, duration);
      claim.late = isLate(claim, duration);
      const key = name.trim().toLowerCase();
      if (!objects.has(key)) objects.set(key, { name, colour: objects.size % COLOURS, claims: [] });
      claim.object = objects.get(key);
      claim.object.claims.push(claim);
      return claim;
    });
    for (const object of objects.values()) {
      const timed = object.claims.filter((claim) => claim.time !== null);
      object.late = timed.filter((claim) => claim.late);
      object.timed = timed.filter((claim) => !claim.late).sort((a, b) => a.time - b.time);
    }
    return { claims, objects: [...objects.values()] };
  };

  /** The true boxes as objects that are drawn like claimed ones, and their title. */
  const readTruth = (truth) => {
    const title = String(truth?.title ?? "truth"), named = new Map();
    for (const one of truth?.boxes ?? []) {
      if (!finite(one.time_s)) continue;
      const name = String(one.name ?? title);
      if (!named.has(name)) named.set(name, { name, timed: [] });
      named.get(name).timed.push({ time: one.time_s, boxes: readBoxes(one) });
    }
    for (const object of named.values()) object.timed.sort((a, b) => a.time - b.time);
    return { title, objects: [...named.values()] };
  };

  /** What is drawn of an object at a time: {claim, boxes, style}. Between two claims with equally many boxes
      these move evenly. */
  const drawnAt = (object, time) => {
    const { timed } = object;
    const nearest = Math.min(...timed.map((claim) => Math.abs(claim.time - time)));
    const style = nearest <= SOLID_S ? "claimed" : "between";
    const before = timed.filter((claim) => claim.time <= time);
    const after = timed.filter((claim) => claim.time > time);
    const last = before.at(-1), next = after[0];
    const same = (one) => timed.filter((claim) => claim.time === one.time);
    if (last && next && nearest > 0) {
      const share = (time - last.time) / (next.time - last.time);
      if (last.boxes.length === next.boxes.length && same(last).length === 1 && same(next).length === 1) {
        const boxes = last.boxes.map((box, k) => box.map((value, i) => value + share * (next.boxes[k][i] - value)));
        return [{ claim: share < 0.5 ? last : next, boxes, style }];
      }
    }
    const held = [last, next].filter((claim) => claim && Math.abs(claim.time - time) <= HELD_S);
    held.sort((a, b) => Math.abs(a.time - time) - Math.abs(b.time - time));
    return held.length ? same(held[0]).map((claim) => ({ claim, boxes: claim.boxes, style })) : [];
  };

  return (element, first) => {
    let data = {}, claims = [], objects = [], truth = readTruth(), media = {}, url;
    let video = null, picture = null, broken = false, position = 0, selected = null, pending = 0;
    let cited = new Map(); // claim index -> its chips

    const root = make("div", "o3-player");
    root.tabIndex = -1;
    const question = make("h2", "o3-question");
    const columns = make("div", "o3-columns");
    const seen = make("div", "o3-seen"), read = make("div", "o3-read");
    const stage = make("div", "o3-stage");
    const drawn = make("div", "o3-drawn");
    drawn.setAttribute("aria-hidden", "true");
    const trouble = make("p", "o3-trouble");
    trouble.hidden = true;
    const controls = make("div", "o3-controls");
    const play = make("button", "o3-play", "Play");
    const clock = make("span", "o3-clock");
    const speed = make("button", "o3-speed");
    const legend = make("span", "o3-legend");
    for (const [style, text] of [["claimed", "as claimed"], ["between", "between claims"]]) {
      legend.append(make("i", `o3-key o3-${style}`), make("span", "", text));
    }
    const legendOfTruth = make("span", "o3-legend-true", "truth");
    legendOfTruth.prepend(make("i", "o3-key o3-true"));
    legend.append(legendOfTruth);
    play.type = speed.type = "button";
    controls.append(play, clock, speed, legend);
    const timeline = make("div", "o3-timeline");
    const note = make("p", "o3-note");
    note.setAttribute("role", "status");
    seen.append(stage, controls, timeline, note);
    const said = {};
    for (const [name, title] of [["reasoning", "Reasoning"], ["answer", "Answer"]]) {
      const section = make("section", `o3-${name}`);
      section.append(make("h3", "", title), (said[name] = make("p", "o3-said")));
      section.setAttribute("aria-label", title);
      read.append(section);
    }
    const votes = make("ul", "o3-votes");
    const about = make("details", "o3-about");
    const facts = make("dl");
    about.append(make("summary"), facts);
    read.append(votes, about);
    columns.append(seen, read);
    root.append(question, columns);
    element.replaceChildren(root);

    const slider = make("div", "o3-scrub");
    slider.tabIndex = 0;
    slider.setAttribute("role", "slider");
    slider.setAttribute("aria-label", "Position in the clip");
    slider.setAttribute("aria-valuemin", "0");
    const head = make("div", "o3-head");
    slider.append(head);

    const duration = () => {
      if (finite(media.duration_s)) return media.duration_s;
      return video && finite(video.duration) ? video.duration : 0;
    };
    const now = () => (video && !broken ? video.currentTime : position);
    const playing = () => Boolean(video) && !video.paused && !video.ended;

    const seek = (time) => {
      if (!finite(time) || media.kind === "image") return;
      const end = duration() || Infinity;
      position = clamp(time, 0, end);
      // the last frame is shown just before the end
      if (video && !broken) video.currentTime = Math.min(position, Math.max(0, end - 0.001));
      draw();
    };

    const toggle = () => {
      if (!video || broken) return;
      if (playing()) video.pause();
      else {
        select(null);
        if (now() >= duration() - 0.01) video.currentTime = 0;
        video.play().catch(() => {});
      }
    };

    const select = (claim) => {
      selected = claim;
      const boxes = claim ? (data.claims[claim.index].boxes ?? []).map((box) => box.pixels).filter(Array.isArray) : [];
      const where = boxes.map((box) => `[${box.map((value) => Math.round(value)).join(", ")}]`).join(" ");
      const parts = claim && [claim.name, claim.time !== null && `at ${seconds(claim.time)}`, where && `${where} px`];
      note.textContent = claim ? parts.filter(Boolean).join(" ") + (claim.problem ? `: ${claim.problem}` : "") : "";
      note.classList.toggle("o3-warning", Boolean(claim?.problem));
      for (const [index, chips] of cited) {
        for (const chip of chips) chip.classList.toggle("o3-selected", index === claim?.index);
      }
    };

    const go = (time) => {
      select(null);
      seek(time);
    };

    const visit = (claim) => {
      if (video) video.pause();
      select(claim);
      if (claim.time !== null) seek(claim.time);
      else draw();
    };

    const place = (mark, [x1, y1, x2, y2]) =>
      Object.assign(mark.style, { left: percent(x1), top: percent(y1), width: percent(x2 - x1), height: percent(y2 - y1) });

    const draw = () => {
      const time = now(), image = media.kind === "image";
      let marks;
      if (image) marks = claims.map((claim) => ({ claim, boxes: claim.boxes, style: "claimed" }));
      else marks = objects.flatMap((object) => (object.timed.length ? drawnAt(object, time) : []));
      if (selected && !image) {
        // what was asked for is always drawn, also where it cannot be seen at its time
        marks = marks.filter((mark) => mark.claim !== selected);
        if (!playing()) marks.push({ claim: selected, boxes: selected.boxes, style: selected.problem ? "doubtful" : "claimed" });
      }
      drawn.replaceChildren();
      for (const object of image ? [] : truth.objects) {
        for (const { boxes } of drawnAt(object, time)) {
          for (const box of boxes.map(visible).filter(Boolean)) {
            const mark = make("div", "o3-mark o3-true");
            place(mark, box);
            mark.append(make("span", "o3-label o3-inside", object.name));
            drawn.append(mark);
          }
        }
      }
      const lit = new Set();
      for (const { claim, boxes, style } of marks) {
        if (style === "claimed" && !image) lit.add(claim.index);
        for (const box of boxes.map(visible).filter(Boolean)) {
          const mark = make("div", `o3-mark o3-${style} o3-c${claim.object.colour}`);
          mark.classList.toggle("o3-selected", claim === selected);
          mark.dataset.claim = claim.index;
          place(mark, box);
          const label = make("span", "o3-label", claim.name);
          if (box[1] < 0.12) label.classList.add(box[3] > 0.88 ? "o3-within" : "o3-below");
          if (box[0] > 0.6) label.classList.add("o3-right");
          mark.append(label);
          drawn.append(mark);
        }
      }
      for (const [index, chips] of cited) {
        for (const chip of chips) light(chip, lit.has(index));
      }
      if (image) return;
      const end = duration();
      clock.textContent = `${time.toFixed(1)} / ${end.toFixed(1)} s`;
      head.style.left = percent(end ? time / end : 0);
      slider.setAttribute("aria-valuemax", end.toFixed(2));
      slider.setAttribute("aria-valuenow", time.toFixed(2));
      slider.setAttribute("aria-valuetext", `${time.toFixed(1)} of ${end.toFixed(1)} seconds`);
      play.textContent = playing() ? "Pause" : "Play";
    };

    /** Mark a chip as true right now; while playing, a long text follows. */
    const light = (chip, on) => {
      if (chip.classList.contains("o3-lit") === on) return;
      chip.classList.toggle("o3-lit", on);
      const pane = chip.closest(".o3-said");
      if (on && playing() && pane.scrollHeight > pane.clientHeight) {
        pane.scrollTop = chip.offsetTop - pane.clientHeight / 2;
      }
    };

    const follow = () => {
      cancelAnimationFrame(pending);
      draw();
      if (playing()) pending = requestAnimationFrame(follow);
    };

    const loadMedia = () => {
      if (media.url === url) return;
      url = media.url;
      video = picture = null;
      broken = false;
      position = 0;
      const fail = (text) => {
        broken = true;
        trouble.textContent = text;
        trouble.hidden = false;
        draw();
      };
      trouble.hidden = true;
      if (!url) {
        stage.replaceChildren(drawn, trouble);
        return;
      }
      if (media.kind === "image") {
        picture = make("img");
        picture.alt = "The picture that the question is about";
        picture.onload = () => shape(picture.naturalWidth, picture.naturalHeight);
        picture.onerror = () => fail("This browser cannot show the picture.");
        picture.src = url;
      } else {
        video = make("video");
        video.playsInline = true;
        video.preload = "auto";
        video.setAttribute("aria-label", "The clip that the question is about");
        video.onloadedmetadata = () => {
          shape(video.videoWidth, video.videoHeight);
          if (position) seek(position); // asked for before the clip was there
          refresh();
        };
        video.onerror = () => fail("This browser cannot play the clip.");
        for (const name of ["play", "pause", "ended", "seeked", "timeupdate"]) video.addEventListener(name, follow);
        video.addEventListener("click", toggle);
        video.src = url;
      }
      stage.replaceChildren(video ?? picture, drawn, trouble);
      shape(...(media.size ?? []));
    };

    const shape = (width, height) => {
      if (!(width > 0 && height > 0)) return;
      stage.style.aspectRatio = `${width} / ${height}`;
      stage.style.setProperty("--o3-shape", width / height);
    };

    const chipOf = (piece) => {
      if (typeof piece === "string") return document.createTextNode(piece);
      const claim = claims[piece.claim];
      if (!claim) {
        const time = make("button", "o3-time", seconds(piece.time_s ?? 0));
        time.type = "button";
        time.setAttribute("aria-label", `Go to ${seconds(piece.time_s ?? 0)}`);
        time.addEventListener("click", () => { if (video) video.pause(); go(piece.time_s); });
        return time;
      }
      const chip = make("button", `o3-chip o3-c${claim.object.colour}`, claim.name);
      chip.type = "button";
      chip.dataset.claim = claim.index;
      if (claim.time !== null) chip.append(make("small", "", seconds(claim.time)));
      if (claim.problem) {
        chip.classList.add("o3-problem");
        chip.title = claim.problem;
      }
      const time = claim.time === null ? "" : ` at ${seconds(claim.time)}`;
      chip.setAttribute("aria-label", `Show ${claim.name}${time}${claim.problem ? `, ${claim.problem}` : ""}`);
      // a claim keeps its index while an answer is written, but what is known of it may change
      chip.addEventListener("click", () => visit(claims[claim.index]));
      return chip;
    };

    /** Replace what changed in a text, so that the focus stays on a chip while the answer is written. */
    const write = (target, pieces) => {
      const before = target.pieces ?? [], keys = pieces.map((piece) => JSON.stringify([piece, claims[piece.claim]?.problem, claims[piece.claim]?.object.colour]));
      let same = 0;
      while (same < before.length && before[same] === keys[same]) same += 1;
      while (target.childNodes.length > same) target.lastChild.remove();
      target.append(...pieces.slice(same).map(chipOf));
      target.pieces = keys;
    };

    const writeTexts = () => {
      const every = claims.map((claim) => ({ claim: claim.index }));
      write(said.reasoning, data.shown?.reasoning ?? (data.reasoning || every.length ? [data.reasoning ?? "", ...every] : []));
      write(said.answer, data.shown?.answer ?? [data.answer ?? ""]);
      said.reasoning.parentElement.hidden = !said.reasoning.textContent && !data.partial;
      said.reasoning.classList.toggle("o3-writing", Boolean(data.partial) && !said.answer.textContent);
      said.answer.classList.toggle("o3-writing", Boolean(data.partial) && Boolean(said.answer.textContent));
      said.answer.parentElement.hidden = !said.answer.textContent && Boolean(data.partial);
      if (!said.answer.textContent && !data.partial) write(said.answer, ["(no answer)"]);
      root.setAttribute("aria-busy", String(Boolean(data.partial)));
      cited = new Map(claims.map((claim) => [claim.index, root.querySelectorAll(`.o3-chip[data-claim="${claim.index}"]`)]));
    };

    const lane = (name, style) => {
      const row = make("div", `o3-lane ${style}`), track = make("div", "o3-track");
      const label = make("span", "o3-lane-name", name);
      label.title = name;
      row.append(label, track);
      timeline.append(row);
      return track;
    };

    const writeTimeline = () => {
      const focused = document.activeElement === slider;
      timeline.replaceChildren();
      const end = duration();
      timeline.hidden = controls.hidden = media.kind === "image" || !url;
      if (timeline.hidden || !end) return;
      const boxed = [...new Set(truth.objects.flatMap((object) => object.timed.map((one) => one.time)))];
      for (const [kind, name, listed, times] of [["truth", truth.title, data.truth?.spans, boxed], ["answer", "answer", data.spans, []]]) {
        const spans = (listed ?? []).filter((span) => span.every(finite));
        const track = spans.length || times.length ? lane(name, `o3-spans o3-of-${kind}`) : null;
        for (const [start, stop] of spans) {
          const bar = make("i", "o3-span");
          Object.assign(bar.style, { left: percent(start / end), width: percent((Math.min(stop, end) - start) / end) });
          track.append(bar);
        }
        for (const time of times) {
          const dot = make("i", "o3-dot");
          dot.classList.toggle("o3-late", time > end + 0.05);
          dot.style.left = percent(time / end);
          track.append(dot);
        }
      }
      const timed = objects.filter((object) => object.timed.length || object.late.length);
      let shared = null;
      timed.forEach((object, k) => {
        const own = k < LANES - 1 || timed.length <= LANES;
        const track = own ? lane(object.name, `o3-c${object.colour}`) : (shared ??= lane("others", ""));
        object.timed.slice(1).forEach((claim, index) => {
          const from = object.timed[index].time;
          const line = make("i", `o3-line o3-c${object.colour}`);
          Object.assign(line.style, { left: percent(from / end), width: percent((claim.time - from) / end) });
          track.append(line);
        });
        for (const claim of [...object.timed, ...object.late]) {
          const dot = make("i", `o3-dot o3-c${object.colour}`);
          dot.classList.toggle("o3-late", claim.late);
          dot.style.left = percent(claim.time / end);
          track.append(dot);
        }
      });
      const frames = (data.protocol?.frame_times_s ?? []).filter(finite);
      if (frames.length) {
        const track = lane("frames", "o3-frames");
        for (const time of frames) {
          const tick = make("i", "o3-tick");
          tick.style.left = percent(time / end);
          track.append(tick);
        }
      }
      timeline.append(slider);
      if (focused) slider.focus();
    };

    const writeAbout = () => {
      const total = (data.votes ?? []).reduce((sum, vote) => sum + vote.count, 0);
      votes.replaceChildren(...(data.votes ?? []).map((vote) => make("li", "", `${vote.count} of ${total}: ${vote.answer}`)));
      votes.hidden = !total;
      about.hidden = !data.model;
      about.firstChild.textContent = `Model: ${data.model}`;
      const shown = Object.entries(data.protocol ?? {}).filter(([, value]) => value !== null);
      const text = (value) => (Array.isArray(value) ? value.join(", ") : String(value));
      facts.replaceChildren(...shown.flatMap(([name, value]) => [make("dt", "", name.replaceAll("_", " ")), make("dd", "", text(value))]));
    };

    const refresh = () => {
      ({ claims, objects } = readClaims(data, duration() || null));
      truth = readTruth(data.truth);
      legendOfTruth.hidden = !truth.objects.length;
      legendOfTruth.lastChild.textContent = truth.title;
      if (selected) selected = claims[selected.index] ?? null;
      question.textContent = data.question ?? "";
      question.hidden = !data.question;
      writeTexts();
      writeTimeline();
      writeAbout();
      draw();
    };

    const update = (next) => {
      data = next ?? {};
      media = data.media ?? {};
      loadMedia();
      refresh();
    };

    const scrub = (event) => {
      const { left, width } = slider.getBoundingClientRect();
      if (video) video.pause();
      go(((event.clientX - left) / width) * duration());
    };
    slider.addEventListener("pointerdown", (event) => {
      slider.setPointerCapture(event.pointerId);
      scrub(event);
    });
    slider.addEventListener("pointermove", (event) => { if (slider.hasPointerCapture(event.pointerId)) scrub(event); });
    play.addEventListener("click", toggle);
    const setSpeed = (index) => {
      speed.dataset.index = index;
      speed.textContent = `${SPEEDS[index]}×`;
      speed.setAttribute("aria-label", `Speed ${SPEEDS[index]} times`);
      if (video) video.playbackRate = SPEEDS[index];
    };
    speed.addEventListener("click", () => setSpeed((Number(speed.dataset.index) + 1) % SPEEDS.length));
    setSpeed(0);

    root.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey || !video) return;
      const moves = { ArrowLeft: now() - STEP_S, ArrowRight: now() + STEP_S, Home: 0, End: duration() };
      if (event.key in moves) {
        video.pause();
        go(moves[event.key]);
      } else if (event.key === " " && !["BUTTON", "SUMMARY"].includes(event.target.tagName)) toggle();
      else if (event.key === " " && event.target.matches(".o3-chip, .o3-time")) toggle();
      else return;
      event.preventDefault();
    });
    // a button would also be pressed when the space bar is let go
    root.addEventListener("keyup", (event) => {
      if (event.key === " " && event.target.matches(".o3-chip, .o3-time")) event.preventDefault();
    });

    /** The first moment with something to see: of a claim that can be seen, else of the answer. */
    const beginning = () => claims.find((claim) => claim.time !== null && !claim.problem)?.time ?? data.spans?.[0]?.[0] ?? 0;

    update(first);
    if (!data.partial) seek(beginning());
    return { update, seek: go, element: root };
  };
})();
