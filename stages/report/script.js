"use strict";
// Show the values of the mark that is nearest to the pointer.
const tip = document.getElementById("tip");
const REACH = 24; // pixels

function nearest(chart, x, y) {
  let best = null;
  let least = REACH;
  for (const mark of chart.querySelectorAll("[data-tip]")) {
    const box = mark.getBoundingClientRect();
    const distance = Math.hypot(
      Math.max(box.left - x, 0, x - box.right),
      Math.max(box.top - y, 0, y - box.bottom),
    );
    if (distance < least || (best && distance === least && box.width * box.height < best.size)) {
      best = { mark, box, size: box.width * box.height };
      least = distance;
    }
  }
  return best;
}

function show(event) {
  const chart = event.target.closest?.("svg.chart");
  const found = chart && nearest(chart, event.clientX, event.clientY);
  tip.hidden = !found;
  if (!found) return;
  tip.textContent = found.mark.dataset.tip.replaceAll("; ", "\n");
  const left = event.clientX + 14 + tip.offsetWidth > innerWidth ? event.clientX - 14 - tip.offsetWidth : event.clientX + 14;
  tip.style.transform = `translate(${Math.max(4, left)}px, ${Math.max(4, event.clientY - 14 - tip.offsetHeight)}px)`;
}

document.addEventListener("pointermove", show);
document.addEventListener("pointerdown", show); // a finger's tap
document.addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });
