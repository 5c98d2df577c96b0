import { ask } from "./api.js";
import * as babyweight from "./babyweight.js";
import * as cartpole from "./cartpole.js";
import * as mnist from "./mnist.js";

// A panel for a model that has one, in the section of the model's name; others are listed below.
const panels = { babyweight, mnist, cartpole };

async function showModels() {
  const { models = [] } = await ask("/models.json").catch(() => ({}));
  const names = [...new Set([...Object.keys(panels), ...models])];
  const found = await Promise.all(
    names.map(async (name) => {
      try {
        const { model_version_status: versions } = await ask(`/v1/models/${name}`);
        const newest = versions.find((version) => version.state === "AVAILABLE");
        return `${name} ${newest ? `version ${newest.version}` : "(not available)"}`;
      } catch {
        return `${name} (not published)`;
      }
    }),
  );
  document.getElementById("models").textContent = found.join(", ");
}

for (const panel of Object.values(panels)) panel.start();
showModels();
