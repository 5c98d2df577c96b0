// CartPole: the physics runs here, each action is an answer of the server.

import { predict } from "./api.js";
import { makeBars } from "./bars.js";
import { EDGE, STEP, TIPPED, fallen, step } from "./physics.js";

const PACE = 2 * STEP; // seconds of the clock for a step: half speed, for people to follow
const PUSH = 12; // newtons
const PUSH_STEPS = 4; // steps that a push lasts
const PAUSE = 1500; // milliseconds between a fall and the next try

const section = document.getElementById("cartpole");
const problem = section.querySelector(".problem");
const scene = document.getElementById("scene");
const paint = scene.getContext("2d");
const button = document.getElementById("run");
const bars = makeBars(document.getElementById("values"), ["◀ left", "right ▶"]);
const ended = document.getElementById("ended");
const outputs = Object.fromEntries(["upright", "longest", "angle"].map((id) => [id, document.getElementById(id)]));

let state = upright();
let running = false;
let push = { force: 0, steps: 0 };
let seconds = 0;
let longest = 0;

function upright() {
  return Array.from({ length: 4 }, () => (Math.random() - 0.5) / 10);
}

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, Math.max(milliseconds, 0)));

async function run() {
  let due = performance.now();
  while (running) {
    const [{ actions, q_values: values }] = await predict("cartpole", [state]);
    if (!running) break;
    state = step(state, actions, push.steps > 0 ? push.force : 0);
    push.steps -= 1;
    seconds += PACE;
    longest = Math.max(longest, seconds);
    show(values);
    if (fallen(state)) {
      ended.textContent = `It ${Math.abs(state[0]) > EDGE ? "left the track" : "fell"} after ${seconds.toFixed(1)} s.`;
      await sleep(PAUSE);
      state = upright();
      seconds = 0;
    }
    due = Math.max(due + 1000 * PACE, performance.now() - 1000 * PACE); // a slow answer slows time, and is not made up for
    await sleep(due - performance.now());
  }
}

function show(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  // The difference decides; beside the values themselves it would not be seen.
  const share = (value) => (high === low ? 0.5 : 0.15 + (0.85 * (value - low)) / Math.max(high - low, 0.05 * Math.abs(high)));
  bars(values.map(share), values.map((value) => value.toFixed(2)));
  outputs.upright.textContent = seconds.toFixed(1);
  outputs.longest.textContent = longest.toFixed(1);
  outputs.angle.textContent = ((state[2] * 180) / Math.PI).toFixed(1);
  draw();
}

function draw() {
  const colour = (name) => getComputedStyle(scene).getPropertyValue(name);
  const { width, height } = scene;
  const metre = width / (2 * EDGE + 0.8);
  const [x, ground] = [width / 2 + state[0] * metre, height * 0.82];
  paint.clearRect(0, 0, width, height);
  paint.lineCap = "round";
  line(colour("--line"), 3, [0, ground], [width, ground]);
  for (const edge of [-EDGE, EDGE]) {
    line(colour("--line"), 3, [width / 2 + edge * metre, ground - 14], [width / 2 + edge * metre, ground + 14]);
  }
  paint.fillStyle = colour("--ink");
  paint.beginPath();
  paint.roundRect(x - 42, ground - 38, 84, 32, 7);
  paint.fill();
  const long = 1.9 * metre;
  const tip = [x + long * Math.sin(state[2]), ground - 38 - long * Math.cos(state[2])];
  line(colour(Math.abs(state[2]) > TIPPED ? "--problem" : "--accent"), 13, [x, ground - 38], tip);
  if (running && push.steps > 0) {
    const way = Math.sign(push.force);
    const from = [x - way * 130, ground - 22];
    line(colour("--accent"), 6, from, [x - way * 56, ground - 22]);
    line(colour("--accent"), 6, [x - way * 72, ground - 34], [x - way * 56, ground - 22]);
    line(colour("--accent"), 6, [x - way * 72, ground - 10], [x - way * 56, ground - 22]);
  }
}

function line(colour, width, from, to) {
  paint.strokeStyle = colour;
  paint.lineWidth = width;
  paint.beginPath();
  paint.moveTo(...from);
  paint.lineTo(...to);
  paint.stroke();
}

function shove(way) {
  if (running) push = { force: way * PUSH, steps: PUSH_STEPS };
}

async function toggle() {
  running = !running;
  button.textContent = running ? "Pause" : "Start";
  if (!running) return;
  try {
    problem.hidden = true;
    await run();
  } catch (error) {
    running = false;
    button.textContent = "Start";
    problem.textContent = error.message;
    problem.hidden = false;
  }
}

export function start() {
  button.addEventListener("click", toggle);
  document.getElementById("push-left").addEventListener("click", () => shove(-1));
  document.getElementById("push-right").addEventListener("click", () => shove(1));
  document.addEventListener("keydown", (event) => {
    const elsewhere = event.target.closest("input, select, #paper");
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!way || elsewhere || !running) return;
    if (!event.repeat) shove(way); // held down, the push would beat the agent's own force for as long as it lasts
    event.preventDefault();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden && running) toggle();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  draw();
  bars([0, 0], ["", ""]);
}
