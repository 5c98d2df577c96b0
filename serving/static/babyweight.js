// Births: a baby's weight for the form's eight inputs, and its curve over gestation weeks.

import { latest, predict } from "./api.js";

const KILOGRAMS = 0.45359237; // a pound
const WEEKS = Array.from({ length: 25 }, (_, i) => 20 + i);
const PLOT = { left: 30, right: 392, top: 8, bottom: 164 };
const NUMBERS = new Set(["gestation_weeks", "mother_age", "plurality"]);

const section = document.getElementById("babyweight");
const form = document.getElementById("birth");
const curve = document.getElementById("curve");

function instance() {
  const values = [...new FormData(form)];
  return Object.fromEntries(values.map(([name, value]) => [name, NUMBERS.has(name) ? Number(value) : value]));
}

const pounds = (prediction) => (typeof prediction === "number" ? prediction : Object.values(prediction)[0]);

const update = latest(section, async (current) => {
  const weeks = WEEKS.map((week) => ({ ...current, gestation_weeks: week }));
  const [now, ...rest] = (await predict("babyweight", [current, ...weeks])).map(pounds);
  document.getElementById("pounds").textContent = now.toFixed(2);
  document.getElementById("kilograms").textContent = (now * KILOGRAMS).toFixed(2);
  draw(rest, current.gestation_weeks, now);
});

function svg(name, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  curve.append(element);
}

function draw(values, week, now) {
  const top = Math.max(10, Math.ceil(Math.max(...values) / 2) * 2);
  const x = (w) => PLOT.left + ((w - WEEKS[0]) / (WEEKS.at(-1) - WEEKS[0])) * (PLOT.right - PLOT.left);
  const y = (lb) => PLOT.bottom - (Math.max(lb, 0) / top) * (PLOT.bottom - PLOT.top);
  while (curve.children.length > 1) curve.lastChild.remove(); // all but the title
  for (let lb = 0; lb <= top; lb += 2) {
    svg("line", { class: "grid", x1: PLOT.left, x2: PLOT.right, y1: y(lb), y2: y(lb) });
    svg("text", { x: PLOT.left - 6, y: y(lb) + 4, "text-anchor": "end" }, lb);
  }
  for (let w = WEEKS[0]; w <= WEEKS.at(-1); w += 4) {
    svg("text", { x: x(w), y: PLOT.bottom + 16, "text-anchor": "middle" }, w);
  }
  svg("text", { x: PLOT.left + 4, y: PLOT.top + 10 }, "lb");
  svg("text", { x: PLOT.right, y: 198, "text-anchor": "end" }, "gestation weeks");
  svg("polyline", { class: "path", points: values.map((lb, i) => `${x(WEEKS[i])},${y(lb)}`).join(" ") });
  svg("circle", { class: "here", cx: x(week), cy: y(now), r: 6 });
}

export function start() {
  const change = () => {
    for (const slider of form.querySelectorAll("input")) {
      slider.parentElement.querySelector(".value").textContent = slider.value + slider.dataset.unit;
    }
    update(instance());
  };
  form.addEventListener("input", change);
  form.addEventListener("submit", (event) => event.preventDefault());
  change();
}
