// Searching and sorting the cards of a batch.
"use strict";
{
  const list = document.getElementById("cards");
  const cards = [...list.children];
  const search = document.getElementById("search");
  const sort = document.getElementById("sort");
  const byName = (one, other) => one.dataset.name.localeCompare(other.dataset.name, undefined, { numeric: true });
  const orders = {
    name: byName,
    status: (one, other) => one.dataset.status - other.dataset.status || byName(one, other),
  };
  for (const key of ["seconds", "frames", "objects", "bytes"])
    orders[key] = (one, other) => other.dataset[key] - one.dataset[key] || byName(one, other);

  function show() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const card of cards) {
      const text = `${card.dataset.name} ${card.dataset.remark} ${card.querySelector(".status").textContent}`.toLowerCase();
      card.hidden = !words.every((word) => text.includes(word));
      shown += !card.hidden;
    }
    list.append(...[...cards].sort(orders[sort.value]));
    document.getElementById("found").textContent = `${shown} shown`;
    document.getElementById("nothing").hidden = shown > 0;
  }
  search.addEventListener("input", show);
  sort.addEventListener("change", show);
  addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.target.closest("input, select")) {
      search.focus();
      event.preventDefault();
    }
  });
  show();
}
