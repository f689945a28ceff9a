"use strict";
// The list of rejected rows shows what the three fields ask for; a click on a reason asks for that reason.
const fields = Object.fromEntries(["file", "reason", "text"].map((name) => [name, document.getElementById(name)]));
const rows = [...document.querySelectorAll("#rows tr")].map((row) => [row, row.textContent.toLowerCase()]);
const filter = () => {
  const text = fields.text.value.toLowerCase();
  let count = 0;
  for (const [row, content] of rows) {
    const fits = ["file", "reason"].every((name) => !fields[name].value || row.dataset[name] === fields[name].value);
    row.hidden = !(fits && content.includes(text));
    count += !row.hidden;
  }
  document.getElementById("count").textContent = `${count} of ${rows.length} listed rows`;
};
if (rows.length) {
  for (const field of Object.values(fields)) field.addEventListener("input", filter);
  for (const button of document.querySelectorAll("[data-ask]")) {
    button.addEventListener("click", () => {
      fields.file.value = "";
      fields.text.value = "";
      fields.reason.value = button.dataset.ask;
      filter();
      document.getElementById("rejected").scrollIntoView();
    });
  }
  filter();
}
