// MNIST: draw one, see what the model makes of it while drawing.

import { latest, predict } from "./api.js";
import { makeBars } from "./bars.js";
import { SIZE, toImage } from "./drawing.js";

const STEP = 10; // canvas points that an arrow key moves the pen
const MOVES = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };

const section = document.getElementById("mnist");
const paper = document.getElementById("paper");
const ink = paper.getContext("2d");
const image = document.getElementById("image").getContext("2d");
const answer = document.getElementById("digit");
const bars = makeBars(document.getElementById("bars"), [..."0123456789"]);

let strokes = [];
let drawing = false; // with mouse or finger
let pen = null; // with keys: where it is, and whether it is down

const update = latest(section, async () => {
  const greys = toImage(strokes);
  show(greys);
  if (!greys) {
    answer.textContent = "–";
    bars(Array(10).fill(0), Array(10).fill(""));
    return;
  }
  const [prediction] = await predict("mnist", [Array.from(greys, (grey) => Math.round(grey * 255) / 255)]);
  if (!strokes.length) return; // cleared meanwhile
  const shares = prediction.probabilities;
  answer.textContent = prediction.classes;
  bars(shares, shares.map((share) => `${(100 * share).toFixed(1)} %`));
});

function show(greys) {
  const pixels = image.createImageData(SIZE, SIZE);
  for (let i = 0; i < SIZE * SIZE; i++) {
    pixels.data.fill(greys ? 255 * greys[i] : 0, 4 * i, 4 * i + 3);
    pixels.data[4 * i + 3] = 255;
  }
  image.putImageData(pixels, 0, 0);
}

function draw() {
  ink.clearRect(0, 0, paper.width, paper.height);
  const style = getComputedStyle(paper);
  ink.strokeStyle = style.color;
  ink.lineWidth = 18;
  ink.lineCap = ink.lineJoin = "round";
  for (const stroke of strokes) {
    ink.beginPath();
    ink.moveTo(...stroke[0]);
    for (const point of stroke) ink.lineTo(...point);
    ink.stroke();
  }
  if (pen) {
    ink.strokeStyle = style.getPropertyValue("--accent");
    ink.lineWidth = pen.down ? 5 : 2;
    ink.beginPath();
    ink.arc(pen.x, pen.y, 12, 0, 7);
    ink.stroke();
  }
}

function changed() {
  draw();
  update();
}

function where(event) {
  const box = paper.getBoundingClientRect();
  return [
    ((event.clientX - box.left) * paper.width) / box.width,
    ((event.clientY - box.top) * paper.height) / box.height,
  ];
}

function clear() {
  strokes = [];
  changed();
}

function key(event) {
  if (event.key === "Delete" || event.key === "Backspace") {
    clear();
  } else if (event.key === " ") {
    pen ??= { x: paper.width / 2, y: paper.height / 2, down: false };
    pen.down = !pen.down;
    if (pen.down) strokes.push([[pen.x, pen.y]]);
    changed();
  } else if (event.key in MOVES) {
    pen ??= { x: paper.width / 2, y: paper.height / 2, down: false };
    pen.x = Math.min(Math.max(pen.x + MOVES[event.key][0], 10), paper.width - 10);
    pen.y = Math.min(Math.max(pen.y + MOVES[event.key][1], 10), paper.height - 10);
    if (pen.down) {
      if (!strokes.length) strokes.push([]);
      strokes.at(-1).push([pen.x, pen.y]);
      changed();
    } else {
      draw();
    }
  } else {
    return;
  }
  event.preventDefault();
}

export function start() {
  paper.addEventListener("pointerdown", (event) => {
    drawing = true;
    pen = null;
    paper.setPointerCapture(event.pointerId);
    strokes.push([where(event)]);
    changed();
  });
  paper.addEventListener("pointermove", (event) => {
    if (!drawing) return;
    strokes.at(-1).push(where(event));
    changed();
  });
  for (const end of ["pointerup", "pointercancel"]) paper.addEventListener(end, () => (drawing = false));
  paper.addEventListener("keydown", key);
  document.getElementById("clear").addEventListener("click", clear);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  changed();
}
