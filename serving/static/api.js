// Asking the server. Answers are TensorFlow Serving's: {"predictions": [...]} or {"error": "..."}.

const form = document.getElementById("token");
let waiting = []; // requests held back until there is a token

form.addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", form.elements.token.value);
  form.hidden = true;
  for (const go of waiting.splice(0)) go();
});

export async function ask(path, body) {
  const token = sessionStorage.getItem("token");
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const options = body === undefined ? { headers } : { method: "POST", headers, body: JSON.stringify(body) };
  const response = await fetch(path, options);
  if (response.status === 401) {
    form.hidden = false;
    await new Promise((resolve) => waiting.push(resolve));
    return ask(path, body);
  }
  // NaN and Infinity may stand in an answer, where JSON has no words for them.
  const text = (await response.text()).replace(/(?<=[[,:])(NaN|-?Infinity)(?=[\],}])/g, "null");
  const answer = JSON.parse(text);
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

export async function predict(model, instances) {
  const { predictions } = await ask(`/v1/models/${model}:predict`, { instances });
  return predictions;
}

// Runs one task at a time; while one runs, only the latest of those asked for is kept.
export function latest(section, task) {
  const problem = section.querySelector(".problem");
  let running = false;
  let next = null;
  return async function run(...values) {
    if (running) {
      next = values;
      return;
    }
    running = true;
    try {
      await task(...values);
      problem.hidden = true;
    } catch (error) {
      problem.textContent = error.message;
      problem.hidden = false;
    }
    running = false;
    if (next) {
      const held = next;
      next = null;
      run(...held);
    }
  };
}
