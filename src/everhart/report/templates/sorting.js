function setUpSorting(table) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  table.tHead.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button === null) return;
    const column = Number(button.dataset.column), head = heads[column];
    const text = column === 0;
    // Figures are first sorted from high to low, names from A to Z.
    const before = head.getAttribute("aria-sort");
    const order = before === "none" ? (text ? "ascending" : "descending")
      : before === "ascending" ? "descending" : "ascending";
    for (const other of heads) other.setAttribute("aria-sort", other === head ? order : "none");
    const sign = order === "ascending" ? 1 : -1;
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [a.cells[column].dataset.value, b.cells[column].dataset.value];
      if (text) return sign * x.localeCompare(y);
      if (x === "" || y === "") return (x === "") - (y === "");  // no value: last in any order
      return sign * (Number(x.replace("inf", "Infinity")) - Number(y.replace("inf", "Infinity")));
    });
    body.append(...rows);
  });
}

document.querySelectorAll("table.figures").forEach(setUpSorting);
