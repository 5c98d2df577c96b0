// A drawing as MNIST's makers would have had it: scaled into a box of 20 by 20 pixels with its proportions kept, then
// moved so that its centre of mass is the centre of 28 by 28 (http://yann.lecun.com/exdb/mnist/).

export const SIZE = 28;
const BOX = 20;
const FINE = 10; // points drawn for each pixel, each way; their mean is the pixel's grey
const PEN = 2.2; // pixels: the width of a stroke, whatever the size of the drawing

const canvas = document.createElement("canvas");
canvas.width = canvas.height = SIZE * FINE;
const context = canvas.getContext("2d", { willReadFrequently: true });

// strokes: lists of [x, y], in any unit. Returns 784 greys from 0 to 1, row by row; null without a stroke.
export function toImage(strokes) {
  const points = strokes.flat();
  if (!points.length) return null;
  const [xs, ys] = [0, 1].map((axis) => points.map((point) => point[axis]));
  const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const scale = ((BOX - PEN) * FINE) / Math.max(right - left, bottom - top, 1);
  const middle = (SIZE * FINE) / 2;
  const place = ([x, y]) => [
    middle + (x - (left + right) / 2) * scale,
    middle + (y - (top + bottom) / 2) * scale,
  ];
  return centre(greys(strokes.map((stroke) => stroke.map(place))));
}

function greys(strokes) {
  context.fillStyle = "#000";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.strokeStyle = "#fff";
  context.lineWidth = PEN * FINE;
  context.lineCap = context.lineJoin = "round";
  for (const stroke of strokes) {
    context.beginPath();
    context.moveTo(...stroke[0]);
    for (const point of stroke) context.lineTo(...point);
    context.stroke();
  }
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  const image = new Float32Array(SIZE * SIZE);
  for (let y = 0; y < canvas.height; y++) {
    for (let x = 0; x < canvas.width; x++) {
      const pixel = Math.floor(y / FINE) * SIZE + Math.floor(x / FINE);
      image[pixel] += data[4 * (y * canvas.width + x)] / 255 / FINE ** 2;
    }
  }
  return image;
}

function centre(image) {
  let [mass, sumX, sumY] = [0, 0, 0];
  image.forEach((grey, i) => {
    mass += grey;
    sumX += grey * ((i % SIZE) + 0.5);
    sumY += grey * (Math.floor(i / SIZE) + 0.5);
  });
  const dx = Math.round(SIZE / 2 - sumX / mass);
  const dy = Math.round(SIZE / 2 - sumY / mass);
  const moved = new Float32Array(SIZE * SIZE);
  image.forEach((grey, i) => {
    const x = (i % SIZE) + dx;
    const y = Math.floor(i / SIZE) + dy;
    if (x >= 0 && x < SIZE && y >= 0 && y < SIZE) moved[y * SIZE + x] = grey;
  });
  return moved;
}
