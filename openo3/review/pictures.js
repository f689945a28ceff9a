"use strict";
/* Pictures of a record: its moments as frames with their boxes, and what is wrong with a rejected one.

     const pictures = openo3Pictures(media, url);
     main.append(pictures.moments(record, seek), pictures.problem(record.problem, open));
     pictures.close();

   The frames come from the clip itself, which a second, invisible video plays to each moment. All texts become
   text nodes and nothing else. */
globalThis.openo3Pictures = (() => {
  const { make } = openo3Browse;
  const MOST = 24; // moments that are shown
  const SEEK_MS = 8000;
  const FAR = 0.75; // of a frame: what lies farther outside is drawn at this distance
  const WIDTH = 480; // pixels of a frame that is kept

  const finite = (value) => typeof value === "number" && Number.isFinite(value);
  const seconds = (time) => `${Number(time.toFixed(2))} s`;
  const percent = (share) => `${(100 * share).toFixed(3)}%`;
  const written = (box) => `[${box.map((value) => Number(value.toFixed(3))).join(", ")}]`;
  const place = (element, [x1, y1, x2, y2]) =>
    Object.assign(element.style, { left: percent(x1), top: percent(y1), width: percent(x2 - x1), height: percent(y2 - y1) });

  /** Frames of a clip, one after the other. */
  const framesOf = (media, url) => {
    if (!url) return { draw: () => Promise.resolve(false), close: () => {} };
    const image = media.kind === "image";
    const source = image ? new Image() : document.createElement("video");
    let chain;
    if (image) {
      source.src = url;
      chain = source.decode();
    } else {
      source.muted = true;
      source.preload = "auto";
      chain = new Promise((resolve, reject) => {
        source.onloadeddata = resolve;
        source.onerror = () => reject(new Error("the clip cannot be played"));
      });
      source.src = url;
    }
    const seek = (time) => new Promise((resolve) => {
      if (image) return resolve();
      const end = finite(source.duration) ? source.duration : 0;
      const wanted = Math.min(Math.max(0, time), Math.max(0, end - 0.001));
      if (Math.abs(source.currentTime - wanted) < 1e-4) return resolve();
      const done = () => { clearTimeout(late); source.removeEventListener("seeked", done); resolve(); };
      const late = setTimeout(done, SEEK_MS);
      source.addEventListener("seeked", done);
      source.currentTime = wanted;
    });
    /** Draw the frame at a time; false if there is none. */
    const draw = (time, canvas) => {
      const drawn = chain.then(() => seek(time)).then(() => {
        const width = source.videoWidth || source.naturalWidth, height = source.videoHeight || source.naturalHeight;
        if (!width) return false;
        canvas.width = Math.min(WIDTH, width);
        canvas.height = Math.max(1, Math.round((canvas.width * height) / width));
        canvas.getContext("2d").drawImage(source, 0, 0, canvas.width, canvas.height);
        return true;
      });
      chain = drawn.catch(() => {});
      return drawn.catch(() => false);
    };
    const close = () => {
      if (image) return;
      source.onerror = null;
      source.removeAttribute("src");
      source.load();
    };
    return { draw, close };
  };

  /** A frame with room for boxes: `extent` is what is visible of the plane in which the frame is 0 to 1. */
  const stageOf = (size, extent = [0, 0, 1, 1]) => {
    const [left, top, right, bottom] = extent, wide = right - left, high = bottom - top;
    const stage = make("div", "shot-stage");
    stage.style.aspectRatio = `${size[0] * wide} / ${size[1] * high}`;
    const local = ([x1, y1, x2, y2]) => [(x1 - left) / wide, (y1 - top) / high, (x2 - left) / wide, (y2 - top) / high];
    const canvas = make("canvas", "shot-frame");
    canvas.width = size[0] >= size[1] ? 160 : 90;
    canvas.height = Math.round((canvas.width * size[1]) / size[0]);
    place(canvas, local([0, 0, 1, 1]));
    stage.append(canvas);
    const put = (style, box, label) => {
      const mark = make("div", style);
      place(mark, local(box));
      if (label) {
        const name = make("span", "o3-label", label);
        if (local(box)[1] < 0.14) name.classList.add("o3-below");
        if (local(box)[0] > 0.6) name.classList.add("o3-right");
        mark.append(name);
      }
      stage.append(mark);
      return mark;
    };
    return { stage, canvas, put, local };
  };

  const clipped = ([x1, y1, x2, y2]) => {
    const inside = [x1, y1, x2, y2].map((value) => Math.min(1, Math.max(0, value)));
    return inside[2] > inside[0] && inside[3] > inside[1] ? inside : null;
  };

  // ---- problems ---------------------------------------------------------------------------------------------

  const isFar = ([x1, y1, x2, y2]) => Math.min(x1, x2) > 1 + FAR || Math.min(y1, y2) > 1 + FAR || Math.max(x1, x2) < -FAR || Math.max(y1, y2) < -FAR;

  const extentOf = (boxes) => {
    const extent = [0, 0, 1, 1];
    for (const { box: [x1, y1, x2, y2] } of boxes.filter((one) => !isFar(one.box))) {
      extent[0] = Math.min(extent[0], Math.max(-FAR, Math.min(x1, x2)));
      extent[1] = Math.min(extent[1], Math.max(-FAR, Math.min(y1, y2)));
      extent[2] = Math.max(extent[2], Math.min(1 + FAR, Math.max(x1, x2)));
      extent[3] = Math.max(extent[3], Math.min(1 + FAR, Math.max(y1, y2)));
    }
    const margin = 0.05;
    return [extent[0] - margin, extent[1] - margin, extent[2] + margin, extent[3] + margin];
  };

  const boxesPicture = (problem, { size, boxes }, frames) => {
    const times = [...new Set(boxes.map((one) => one.time_s))].slice(0, 4);
    return make("div", "wrong-boxes", ...times.map((time) => {
      const here = boxes.filter((one) => one.time_s === time), extent = extentOf(here);
      const { stage, canvas, put, local } = stageOf(size, extent);
      frames.draw(time ?? 0, canvas);
      for (const { name, box, read_as: other } of here) {
        const [x1, y1, x2, y2] = box;
        const hull = [Math.min(x1, x2), Math.min(y1, y2), Math.max(x1, x2), Math.max(y1, y2)];
        const seen = hull.map((value, k) => Math.min(extent[k < 2 ? k + 2 : k], Math.max(extent[k < 2 ? k : k - 2], value)));
        const flat = hull[2] - hull[0] < 1e-9 || hull[3] - hull[1] < 1e-9;
        if (other) put("read-as", other.box, other.words);
        if (isFar(box)) {
          stage.append(make("span", "goes-on", `${name || "a box"} is far outside, at ${written(box)}`));
          continue;
        }
        stage.prepend(put("wrong-fill", seen)); // below the frame: only what is outside shows it
        put(`wrong-box ${x2 < x1 || y2 < y1 ? "inverted" : ""} ${flat ? "flat" : ""}`, seen, name || "box");
        if (x2 < x1 || y2 < y1) {
          for (const [x, y, text] of [[x1, y1, "x1, y1"], [x2, y2, "x2, y2"]]) {
            const corner = make("div", "corner", make("span", "", text));
            const [left, top] = local([x, y, x, y]);
            Object.assign(corner.style, { left: percent(left), top: percent(top) });
            stage.append(corner);
          }
        }
        if (hull[2] > extent[2] || hull[3] > extent[3] || hull[0] < extent[0] || hull[1] < extent[1]) {
          const goes = [hull[0] < extent[0] && "←", hull[1] < extent[1] && "↑", hull[2] > extent[2] && "→", hull[3] > extent[3] && "↓"];
          stage.append(make("span", "goes-on", `${goes.filter(Boolean).join(" ")} it goes on, to ${written(box)}`));
        }
      }
      const says = here.map((one) => `${one.name || "box"} ${written(one.box)}`).join(", ");
      const reads = here.find((one) => one.read_as);
      const caption = make("figcaption", "", `${time === null ? "" : `At ${seconds(time)}: `}${says}.`);
      if (reads) caption.append(make("span", "hint", ` In ${reads.read_as.words} it would be where the green box is.`));
      return make("figure", "shot wide", stage, caption);
    }));
  };

  const timesPicture = (problem, { duration_s: end, marks, spans }) => {
    const every = [...marks.map((mark) => mark.time_s), ...spans.flatMap((span) => [span.start_s, span.end_s]), end ?? 0];
    const first = Math.min(0, ...every), last = Math.max(...every, 0.1), long = (last - first) * 1.04;
    const at = (time) => percent((time - first) / long);
    const line = make("div", "wrong-times");
    const clip = make("div", "clip-length", make("span", "", finite(end) ? `the clip, ${seconds(end)}` : "the clip's length is unknown"));
    Object.assign(clip.style, { left: at(0), width: percent((end ?? last) / long) });
    line.append(clip);
    for (const { label, start_s: start, end_s: stop } of spans) {
      const bar = make("div", "wrong-span", make("span", "", `${label}: ${seconds(start)} to ${seconds(stop)}`));
      Object.assign(bar.style, { left: at(Math.min(start, stop)), width: percent(Math.abs(stop - start) / long) });
      if (bar.style.left && (Math.min(start, stop) - first) / long > 0.6) bar.classList.add("right");
      line.append(bar);
    }
    for (const { label, time_s: time, wrong } of marks) {
      const pin = make("div", `wrong-time ${wrong ? "bad" : ""}`, wrong ? make("span", "", `${label}: ${seconds(time)}`) : null);
      pin.style.left = at(time);
      if ((time - first) / long > 0.6) pin.classList.add("right");
      pin.title = `${label}: ${seconds(time)}`;
      line.append(pin);
    }
    return line;
  };

  const textPicture = (problem, { pieces }) =>
    make("pre", "wrong-text", ...pieces.map(([text, wrong]) => (wrong ? make("mark", "", text) : text)));

  const filePicture = (problem, { path }) => {
    const words = { "media missing": "not there", "key frame image missing": "not there", "path leaves its root": "not allowed" };
    const sheet = make("div", "wrong-file", make("b", "", words[problem.reason] ?? "cannot be read"), make("code", "", path || "(no path)"));
    return make("figure", "shot wide", sheet);
  };

  const fieldsPicture = (problem, { lines, other_row: other }, frames, open) => {
    const text = make("pre", "wrong-text", ...lines.map(([line, wrong]) => make(wrong ? "mark" : "span", "line", line)));
    if (other === null) return text;
    const link = make("button", "plain", `Open row ${other}`);
    link.type = "button";
    link.addEventListener("click", () => open(other));
    return make("div", "", text, link);
  };

  const PICTURES = { boxes: boxesPicture, times: timesPicture, text: textPicture, file: filePicture, fields: fieldsPicture };

  return (media, url) => {
    const frames = framesOf(media, url);

    /** The card that says and shows why a record is rejected; `open` shows another row of its file. */
    const problem = (found, open) => {
      const where = [found.field, found.detail].filter(Boolean).join(": ");
      const card = make("section", "problem", make("h3", "", `Rejected: ${found.reason}`), make("p", "", where));
      card.setAttribute("aria-label", "Why the record is rejected");
      card.append(PICTURES[found.picture.kind](found, found.picture, frames, open));
      return card;
    };

    /** The record's moments as frames with their boxes, each a button that goes there in the player. */
    const moments = (record, go) => {
      const names = [...new Set(record.evidence.claims.map((claim) => claim.object.trim().toLowerCase()))];
      const strip = make("div", "shots");
      for (const moment of record.moments.slice(0, MOST)) {
        const { stage, canvas, put } = stageOf(record.media.size ?? [16, 9]);
        frames.draw(moment.time_s, canvas).then((drawn) => stage.classList.toggle("dark", !drawn));
        for (const { name, box, key } of moment.boxes) {
          const inside = clipped(box);
          const colour = Math.max(0, names.indexOf(name.trim().toLowerCase())) % 7;
          if (inside) put(`o3-mark ${key ? "o3-true" : `o3-claimed o3-c${colour}`}`, inside, name);
        }
        const button = make("button", "shot", stage, make("span", "when", seconds(moment.time_s), make("small", "", moment.what)));
        button.type = "button";
        const outside = finite(record.media.duration_s) && moment.time_s > record.media.duration_s + 0.05;
        if (outside) button.lastChild.append(make("small", "bad", "after the end"));
        button.setAttribute("aria-label", `Go to ${seconds(moment.time_s)}: ${moment.boxes.map((one) => one.name).join(", ") || "no boxes"}`);
        button.addEventListener("click", () => go(moment.time_s));
        strip.append(button);
      }
      const more = record.moments.length - MOST;
      const heading = make("h3", "", "Moments", more > 0 ? make("small", "", ` the first ${MOST} of ${record.moments.length}`) : null);
      return make("section", "moments", heading, strip);
    };

    return { problem, moments, close: frames.close };
  };
})();
