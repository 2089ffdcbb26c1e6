// Decisions: what is chosen beside a picture goes into fixes.csv. Without it the page says the same.
(() => {
  "use strict";
  const button = document.getElementById("save");
  if (!button) return;
  document.documentElement.classList.add("scripted");
  const { fixes } = JSON.parse(document.getElementById("facts").textContent);
  const known = new Map(fixes.map((fix) => [fix.content, fix]));
  const selects = [...document.querySelectorAll("select[data-content]")];
  const said = document.getElementById("said");

  const tell = () => {
    const count = (action) => fixes.filter((fix) => fix.action === action).length;
    said.textContent =
      `${count("leave out")} to leave out, ${count("relabel")} to relabel, ${count("keep")} to keep`;
  };

  for (const select of selects) {
    select.addEventListener("change", () => {
      const fix = known.get(select.dataset.content);
      fix.action = select.value;
      fix.label = select.selectedOptions[0].dataset.label ?? "";
      // An image may be shown twice, and its exact copies share its decision.
      for (const other of selects) {
        if (other === select || other.dataset.content !== fix.content) continue;
        const option = [...other.options].findIndex(
          (one) => one.value === fix.action && (one.dataset.label ?? "") === fix.label,
        );
        other.selectedIndex = option; // -1, nothing, where the copy is of that class already
      }
      tell();
    });
  }

  const columns = ["content", "action", "label", "path", "reason"];
  const quoted = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  button.addEventListener("click", () => {
    const rows = fixes.map((fix) => columns.map((name) => quoted(fix[name])).join(","));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(
      new Blob([[columns.join(","), ...rows, ""].join("\n")], { type: "text/csv" }),
    );
    link.download = "fixes.csv";
    link.click();
    URL.revokeObjectURL(link.href);
  });
  tell();
})();
