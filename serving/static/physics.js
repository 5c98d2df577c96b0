// The cart and its pole, with Gymnasium's constants and its way of integrating, so that the agent meets the world that
// it learned in. Source: Barto, Sutton and Anderson (1983), as in gymnasium/envs/classic_control/cartpole.py.

export const STEP = 0.02; // seconds
export const EDGE = 2.4; // metres from the middle
export const TIPPED = (12 * Math.PI) / 180; // radians
const GRAVITY = 9.8;
const CART = 1.0; // kg
const POLE = 0.1; // kg
const HALF = 0.5; // metres: half the pole's length
const FORCE = 10; // newtons: the agent's push

// state: position, velocity, angle, angular velocity. action: 0 left, 1 right. push: newtons beside the agent's.
export function step([x, speed, angle, spin], action, push) {
  const force = (action === 1 ? FORCE : -FORCE) + push;
  const [sin, cos] = [Math.sin(angle), Math.cos(angle)];
  const total = CART + POLE;
  const shared = (force + POLE * HALF * spin ** 2 * sin) / total;
  const turn = (GRAVITY * sin - cos * shared) / (HALF * (4 / 3 - (POLE * cos ** 2) / total));
  const acceleration = shared - (POLE * HALF * turn * cos) / total;
  return [x + STEP * speed, speed + STEP * acceleration, angle + STEP * spin, spin + STEP * turn];
}

export const fallen = ([x, , angle]) => Math.abs(x) > EDGE || Math.abs(angle) > TIPPED;
