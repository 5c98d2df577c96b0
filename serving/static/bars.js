// Horizontal bars, one a name, the greatest marked.

export function makeBars(list, names) {
  const rows = names.map((name) => {
    const row = document.createElement("li");
    const [label, track, fill, number] = ["name", "track", "fill", "number"].map((part) => {
      const element = document.createElement("span");
      element.className = part;
      return element;
    });
    label.textContent = name;
    track.append(fill);
    row.append(label, track, number);
    list.append(row);
    return { row, fill, number };
  });

  // shares: bar lengths from 0 to 1; words: what stands beside each.
  return function show(shares, words) {
    const best = shares.some((share) => share > 0) ? shares.indexOf(Math.max(...shares)) : -1;
    rows.forEach(({ row, fill, number }, index) => {
      row.classList.toggle("best", index === best);
      fill.style.width = `${100 * shares[index]}%`;
      number.textContent = words[index];
    });
  };
}
