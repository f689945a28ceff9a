"use strict";
// Pointing at a claim's chip, box or dot (or reaching it with the keyboard) lights up all drawings of it.
const light = (event, on) => {
  const key = event.target.closest?.("[data-claim]")?.dataset.claim;
  if (key) document.querySelectorAll(`[data-claim="${CSS.escape(key)}"]`).forEach((e) => e.classList.toggle("lit", on));
};
for (const name of ["pointerover", "focusin"]) document.addEventListener(name, (event) => light(event, true));
for (const name of ["pointerout", "focusout"]) document.addEventListener(name, (event) => light(event, false));

// Pointing into a chart reads out the logged values at the nearest step.
for (const svg of document.querySelectorAll("svg[data-chart]")) {
  const chart = JSON.parse(svg.dataset.chart);
  const output = svg.closest("figure").querySelector("output");
  const resting = output.textContent;
  const cursor = document.createElementNS(svg.namespaceURI, "line");
  cursor.setAttribute("class", "cursor");
  svg.addEventListener("pointermove", (event) => {
    const { left, width } = svg.getBoundingClientRect();
    const x = ((event.clientX - left) / width) * svg.viewBox.baseVal.width;
    const step = chart.from + ((x - chart.left) / (chart.right - chart.left)) * (chart.to - chart.from);
    const nearest = chart.x.reduce((best, at, k) => (Math.abs(at - step) < Math.abs(chart.x[best] - step) ? k : best), 0);
    const at = chart.left + ((chart.x[nearest] - chart.from) / (chart.to - chart.from || 1)) * (chart.right - chart.left);
    for (const [key, value] of [["x1", at], ["x2", at], ["y1", chart.top], ["y2", chart.bottom]]) cursor.setAttribute(key, value);
    svg.append(cursor);
    output.textContent = `step ${chart.x[nearest]}: ${chart.y[nearest]}`;
  });
  svg.addEventListener("pointerleave", () => { cursor.remove(); output.textContent = resting; });
}

// Selecting a picture shows it as large as the window; a click or Escape closes it.
const enlarged = document.body.appendChild(document.createElement("dialog"));
enlarged.className = "enlarged";
enlarged.addEventListener("click", () => enlarged.close());
for (const picture of document.querySelectorAll(".picture")) {
  const show = () => { enlarged.replaceChildren(picture.cloneNode(true)); enlarged.showModal(); };
  picture.tabIndex = 0;
  picture.addEventListener("click", show);
  picture.addEventListener("keydown", (event) => { if (event.key === "Enter") show(); });
}
