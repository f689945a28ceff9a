"use strict";
/* Choose a clip, ask, watch the evidence while the answer is written. The clip is shown from this computer; the
   server gets a copy, reads its frames and deletes it. All texts that come back become text nodes. */
(() => {
  const byId = (id) => document.getElementById(id);
  const form = byId("form"), drop = byId("drop"), fileField = byId("file"), question = byId("question");
  const answer = byId("answer"), status = byId("status"), ask = byId("ask"), cancel = byId("cancel");
  const remove = byId("remove"), progress = byId("progress");
  let clip = null; // {file, url, kind}
  let example = null; // {question, task}, whose kind of answer is known
  let model = "", mostBytes = Infinity, mostChars = Infinity, asking = null;

  const say = (text, style = "") => {
    if (status.textContent !== text) status.textContent = text; // a screen reader reads what is written anew
    status.className = style;
  };
  const headers = () => (byId("key").value ? { Authorization: `Bearer ${byId("key").value}` } : {});
  const number = (count) => count.toLocaleString("en");
  const duration = (time_s) => (time_s < 120 ? `${Math.round(time_s)} seconds` : `${Math.floor(time_s / 60)} minutes`);
  const size = (count) => (count < 1e6 ? `${Math.ceil(count / 1e3)} KB` : `${(count / 1e6).toFixed(count < 1e7 ? 1 : 0)} MB`);

  /** Without the name of the parameter, which is for programs. */
  const plainly = (error) => error.message.replace(/^[a-z_]+: /, "").replace(/^./, (first) => first.toUpperCase());

  /** What an answer of the server's that is no success says, as an Error. */
  const problem = async (response) => {
    const found = await response.json().catch(() => null);
    if (response.status === 401) byId("keyfield").hidden = false;
    const message = found?.error?.message ?? `the server answered with status ${response.status}`;
    return new Error(response.status === 401 ? "This server needs an API key. Enter it and ask again." : message);
  };

  /** What the network promises; where it fails, a sentence instead of the browser's own words. */
  const reached = (promise) =>
    promise.catch((error) => {
      throw error.name === "AbortError" ? error : new Error("The server cannot be reached. Is it still running?");
    });

  const get = async (path) => {
    const response = await reached(fetch(path, { headers: headers() }));
    if (!response.ok) throw await problem(response);
    return response;
  };

  // ---- the clip

  const shown = (kind, url) => {
    const element = document.createElement(kind === "image" ? "img" : "video");
    element.src = url;
    if (kind === "image") element.alt = "the chosen picture";
    else Object.assign(element, { muted: true, controls: true, playsInline: true });
    element.addEventListener("error", () => {
      const note = "This browser cannot show the file; the model may still be able to read it.";
      element.replaceWith(Object.assign(document.createElement("p"), { className: "soft", textContent: note }));
    });
    return element;
  };

  const choose = (file) => {
    if (file && file.size > mostBytes) return say(`${file.name} has ${size(file.size)}; at most ${size(mostBytes)}.`, "bad");
    if (clip) URL.revokeObjectURL(clip.url);
    clip = file ? { file, url: URL.createObjectURL(file), kind: file.type.startsWith("image/") ? "image" : "video" } : null;
    say("");
    answer.hidden = true;
    answer.replaceChildren();
    byId("preview").hidden = byId("chosen").hidden = !clip;
    byId("invite").hidden = Boolean(clip);
    byId("preview").replaceChildren(...(clip ? [shown(clip.kind, clip.url)] : []));
    byId("name").textContent = clip ? `${file.name}, ${size(file.size)}` : "";
    if (!clip) fileField.value = "";
  };

  fileField.addEventListener("change", () => fileField.files[0] && choose(fileField.files[0]));
  remove.addEventListener("click", () => {
    choose(null);
    fileField.focus();
  });
  for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
    document.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", name === "dragenter" || name === "dragover");
    });
  }
  document.addEventListener("drop", (event) => {
    const file = event.dataTransfer.files[0];
    if (asking) return; // its clip is part of the answer that is being written
    if (!file) return say("Drop a file, not a link or a text.", "bad");
    choose(file);
    question.focus();
  });

  // ---- asking

  /** Upload the clip; the id that the question names it by. */
  const upload = (file, signal) =>
    new Promise((resolve, reject) => {
      const request = new XMLHttpRequest(); // fetch does not report progress
      const stop = () => request.abort();
      signal.addEventListener("abort", stop);
      request.open("POST", "v1/files");
      for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
      request.upload.onprogress = (event) => say(`Uploading: ${Math.round((100 * event.loaded) / event.total)} %`, "busy");
      request.onload = async () => {
        if (request.status === 200) return resolve(JSON.parse(request.responseText).id);
        reject(await problem(new Response(request.responseText, { status: request.status })));
      };
      request.onerror = () => reject(new Error("The server cannot be reached, or it refused the upload."));
      request.onabort = () => reject(new DOMException("", "AbortError"));
      const body = new FormData();
      body.append("purpose", "user_data");
      body.append("file", file);
      request.send(body);
    });

  /** The events of a stream: {comment} or {data}. */
  async function* events(response) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reached(reader.read());
      if (done) return;
      rest += value;
      const lines = rest.split("\n");
      rest = lines.pop();
      for (const line of lines) {
        if (line.startsWith(": ")) yield { comment: line.slice(2) };
        else if (line === "data: [DONE]") return;
        else if (line.startsWith("data: ")) yield { data: JSON.parse(line.slice(6)) };
      }
    }
  }

  const waiting = (comment) => {
    const place = /^queue (\d+)$/.exec(comment);
    if (place) {
      const ahead = Number(place[1]) - 1;
      say(ahead ? `Waiting: ${ahead} ${ahead === 1 ? "question" : "questions"} in front of yours` : "Next in line", "busy");
    } else if (comment === "answering") say("The model looks at the clip", "busy");
  };

  /** Show the moment that was just cited, unless the person plays the clip. */
  const follow = (player, claim) => {
    const video = player.element.querySelector("video");
    if (video?.paused && claim.time_s !== null) player.seek(claim.time_s);
  };

  /** Ask and show; the sentence to end with. */
  const run = async (signal) => {
    const started = performance.now();
    const content = [{ type: "text", text: question.value }];
    if (clip) {
      say("Uploading", "busy");
      content.unshift({ type: "file", file: { file_id: await upload(clip.file, signal) } });
    }
    say("Waiting for the server", "busy");
    const response = await reached(fetch("v1/chat/completions", {
      method: "POST",
      signal,
      headers: { "Content-Type": "application/json", ...headers() },
      body: JSON.stringify({
        model, messages: [{ role: "user", content }], stream: true, stream_options: { include_usage: true }, evidence_updates: "chunk",
        task: clip && question.value === example?.question ? example.task : null,
      }),
    }));
    if (!response.ok) throw await problem(response);
    let player = null, state = null, text = "", plain = null, ended = null, usage = null, claims = 0, cut = false;
    try {
      for await (const { comment, data } of events(response)) {
        if (comment) waiting(comment);
        if (data?.error) throw new Error(data.error.message);
        usage = data?.usage ?? usage;
        const choice = data?.choices?.[0];
        if (!choice) continue;
        text += choice.delta.content ?? "";
        ended = choice.finish_reason ?? ended;
        cut = ended === "length";
        if (choice.evidence) {
          state = { ...choice.evidence, media: { ...choice.evidence.media, url: clip.url } };
          byId("preview").hidden = true;
          answer.hidden = false;
          if (player) player.update(state);
          else player = openo3Player(answer, state);
          if (state.claims.length > claims) follow(player, state.claims.at(-1));
          claims = state.claims.length;
        } else if (!clip && text) {
          plain ??= answer.appendChild(Object.assign(document.createElement("p"), { className: "plain" }));
          plain.textContent = text;
          answer.hidden = false;
        }
        if (!ended && text) say("Writing", "busy");
      }
      if (!ended) throw new Error("The connection ended before the answer did. Ask again.");
    } catch (error) {
      player?.update({ ...state, partial: false }); // what is there stays; nothing more is being written
      throw error;
    }
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    const parts = [`Answered in ${seconds} s`];
    if (usage) parts.push(`${number(usage.prompt_tokens)} tokens read, ${number(usage.completion_tokens)} written`);
    if (cut) parts.push("cut off at the longest answer that this server writes");
    if (clip && !claims) parts.push("the model cited no evidence, so nothing is marked in the clip");
    if (!clip) parts.push("without a clip there is no evidence");
    return `${parts.join("; ")}.`;
  };

  /** While a question is being answered, its clip cannot be changed. Buttons keep the focus that they have. */
  const busy = (yes) => {
    ask.setAttribute("aria-disabled", String(yes));
    fileField.disabled = remove.disabled = yes;
    for (const button of document.querySelectorAll("#examples button[data-ready]")) button.disabled = yes;
    const focused = document.activeElement === cancel;
    cancel.hidden = !yes;
    if (focused) question.focus();
  };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (asking) return;
    const count = [...question.value].length; // characters, as the server counts them
    if (!question.value.trim()) return say("Type a question first.", "bad");
    if (count > mostChars) return say(`The question has ${number(count)} characters; at most ${number(mostChars)}.`, "bad");
    asking = new AbortController();
    busy(true);
    answer.hidden = true;
    answer.replaceChildren();
    progress.scrollIntoView({ block: "nearest" });
    try {
      await begin();
      say(await run(asking.signal));
    } catch (error) {
      const gone = error.name === "AbortError";
      say(gone ? "Cancelled." : plainly(error), gone ? "" : "bad");
      byId("preview").hidden = !clip || !answer.hidden;
    } finally {
      asking = null;
      busy(false);
    }
  });
  cancel.addEventListener("click", () => asking?.abort());
  question.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });

  // ---- the beginning

  const offer = async (offered) => {
    const item = document.createElement("li"), button = document.createElement("button");
    button.type = "button";
    button.disabled = true; // until its clip is here
    const picture = document.createElement("video");
    Object.assign(picture, { muted: true, playsInline: true, preload: "metadata" });
    button.append(picture, Object.assign(document.createElement("span"), { textContent: offered.question }));
    item.append(button);
    byId("examples").querySelector("ul").append(item);
    byId("examples").hidden = false;
    const blob = await (await get(offered.clip)).blob();
    button.dataset.ready = "";
    button.disabled = Boolean(asking);
    picture.src = URL.createObjectURL(blob);
    picture.addEventListener("loadedmetadata", () => { picture.currentTime = picture.duration / 2; }, { once: true });
    button.addEventListener("click", () => {
      choose(new File([blob], "example.mp4", { type: "video/mp4" }));
      example = offered;
      question.value = offered.question;
      form.requestSubmit();
    });
  };

  const load = async () => {
    const found = await (await get("status")).json();
    model = found.model;
    mostBytes = found.clip_mb * 1e6;
    byId("keyfield").hidden = true;
    byId("model").textContent = `Model: ${model}.`;
    byId("allowed").textContent = `Up to ${found.clip_mb} MB and ${duration(found.clip_s)}.`;
    mostChars = found.question_chars;
    const examples = await (await get("examples")).json();
    for (const offered of examples) offer(offered).catch(() => {});
  };

  /** Once; where it fails, again with the next question. */
  let begun = null;
  const begin = () => {
    begun ??= load().catch((error) => {
      begun = null;
      throw error;
    });
    return begun;
  };
  begin().catch((error) => say(plainly(error), "bad"));
})();
